"""What calibration measures of all tensors: added up by each worker, merged by Beam, written to a file."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from tfx_edge.components.core.calibration.bin_counts import BinCounts
from tfx_edge.components.core.calibration.channel_means import ChannelSums
from tfx_edge.components.core.calibration.histogram import Histogram
from tfx_edge.components.core.calibration.non_finite import NonFinite, Place
from tfx_edge.components.core.calibration.small_tensors import SMALL, SmallTensors
from tfx_edge.components.core.calibration.statistics import (
    TensorStatistics,
    TensorTally,
    merge,
    of_zeros,
)


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What was measured on some examples.

    Attributes:
      examples: how many.
      statistics: by tensor name.
      channel_sums: by tensor name, of the tensors for which they were asked.
      non_finite: by tensor name, of those that held NaN or infinity.
    """

    examples: int = 0
    statistics: Mapping[str, TensorStatistics] = dataclasses.field(default_factory=dict)
    channel_sums: Mapping[str, ChannelSums] = dataclasses.field(default_factory=dict)
    non_finite: Mapping[str, NonFinite] = dataclasses.field(default_factory=dict)

    def __add__(self, other: Measurements) -> Measurements:
        """The measurements on the examples of both; associative and commutative to the last bit."""
        return MergeMeasurements().merge_accumulators([self, other])


class Tally:
    """Adds up measurements, example after example.

    Args:
      histograms: whether to count histograms.
      channel_means_of: names of tensors whose means by channel are wanted.
      moved: by the name of a tensor that holds the values of another one and zeros, that other (`moved_values`); its
        statistics are made of the other's.
    """

    def __init__(
        self,
        *,
        histograms: bool,
        channel_means_of: Collection[str] = (),
        moved: Mapping[str, str] | None = None,
    ) -> None:
        self._histograms = histograms
        self._bin_counts = BinCounts() if histograms else None
        self._channel_means_of = frozenset(channel_means_of)
        self._moved = dict(moved or {})
        # How many zeros a tensor holds beside the values of another one.
        self._zeros: dict[str, int] = {}
        self._large: dict[str, TensorTally] = {}
        self._small = SmallTensors((), ())
        # Of small tensors that had other sizes before.
        self._before: dict[str, TensorStatistics] = {}
        self._channel_sums: dict[str, ChannelSums] = {}
        self._non_finite: dict[str, NonFinite] = {}
        self.examples = 0
        self.arrays = 0

    def add(self, values: Iterable[tuple[str, np.ndarray]], place: Place | None = None) -> None:
        """Adds one example: float32 arrays by tensor name, each of which is read before this returns; and its place."""
        small: list[tuple[str, np.ndarray]] = []
        sizes: dict[str, int] = {}
        for name, array in values:
            self.arrays += 1
            sizes[name] = array.size
            if name in self._channel_means_of:
                sums = ChannelSums.of(array)
                known = self._channel_sums.get(name)
                self._channel_sums[name] = sums if known is None else known + sums
            if name in self._zeros or (not self.examples and self._moved.get(name) in sizes):
                # It holds what was read before in each example.
                self._zeros[name] = self._zeros.get(name, 0) + array.size - sizes[self._moved[name]]
            elif 0 < array.size <= SMALL:
                small.append((name, array))
            else:
                if name not in self._large:
                    self._large[name] = TensorTally(histograms=self._histograms, bin_counts=self._bin_counts)
                self._note(name, *self._large[name].add(array), place)
        if small:
            self._add_small(small, place)
        self.examples += 1

    def measurements(self) -> Measurements:
        """The measurements of all examples added so far."""
        large = {name: tally.statistics() for name, tally in self._large.items()}
        statistics = _merged([self._before, self._small.statistics(), large])
        non_finite = dict(self._non_finite)
        for name, zeros in self._zeros.items():
            source = self._moved[name]
            statistics[name] = merge(statistics[source], of_zeros(zeros, histograms=self._histograms))
            if source in non_finite:
                non_finite[name] = non_finite[source]
        return Measurements(self.examples, statistics, dict(self._channel_sums), non_finite)

    def _add_small(self, tensors: Sequence[tuple[str, np.ndarray]], place: Place | None) -> None:
        names = tuple(name for name, _ in tensors)
        arrays = [array for _, array in tensors]
        sizes = tuple(array.size for array in arrays)
        if names != self._small.names or sizes != self._small.sizes:
            self._before = _merged([self._before, self._small.statistics()])
            self._small = SmallTensors(names, sizes, self._bin_counts)
        for name, nan, infinite in self._small.add(arrays):
            self._note(name, nan, infinite, place)

    def _note(self, name: str, nan: int, infinite: int, place: Place | None) -> None:
        """Notes that a tensor held NaN or infinities in one example, if it did."""
        if nan or infinite:
            held, known = NonFinite(1, nan > 0, place), self._non_finite.get(name)
            self._non_finite[name] = held if known is None else known + held


class MergeMeasurements(beam.CombineFn):
    """Merges measurements."""

    def create_accumulator(self) -> Measurements:
        return Measurements()

    def add_input(self, accumulator: Measurements, element: Measurements) -> Measurements:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Measurements]) -> Measurements:
        accumulators = list(accumulators)
        examples = 0
        sums: dict[str, ChannelSums] = {}
        non_finite: dict[str, NonFinite] = {}
        for accumulator in accumulators:
            examples += accumulator.examples
            for name, sum_ in accumulator.channel_sums.items():
                sums[name] = sums[name] + sum_ if name in sums else sum_
            for name, held in accumulator.non_finite.items():
                non_finite[name] = non_finite[name] + held if name in non_finite else held
        statistics = _merged(accumulator.statistics for accumulator in accumulators)
        return Measurements(examples, statistics, sums, non_finite)

    def extract_output(self, accumulator: Measurements) -> Measurements:
        return accumulator


def _merged(several: Iterable[Mapping[str, TensorStatistics]]) -> dict[str, TensorStatistics]:
    """The statistics of all together, by tensor name."""
    total: dict[str, TensorStatistics] = {}
    for statistics in several:
        for name, seen in statistics.items():
            total[name] = merge(total[name], seen) if name in total else seen
    return total


def to_json(measurements: Measurements) -> dict[str, Any]:
    """What `json` can write: the same measurements give the same text when keys are sorted."""
    return {
        'examples': measurements.examples,
        'tensors': {name: _tensor_to_json(seen) for name, seen in measurements.statistics.items()},
        'channel_sums': {
            name: {'examples': sums.examples, 'digits': sums.digits.tolist()}
            for name, sums in measurements.channel_sums.items()
        },
        'non_finite': {name: dataclasses.asdict(held) for name, held in measurements.non_finite.items()},
    }


def from_json(content: Mapping[str, Any]) -> Measurements:
    """Reads what `to_json` made."""
    return Measurements(
        content['examples'],
        {name: _tensor_from_json(seen) for name, seen in content['tensors'].items()},
        {
            name: ChannelSums(sums['examples'], np.array(sums['digits'], np.int64))
            for name, sums in content['channel_sums'].items()
        },
        {
            name: NonFinite(held['examples'], held['nan'], held['first'] and tuple(held['first']))
            for name, held in content['non_finite'].items()
        },
    )


def _tensor_to_json(seen: TensorStatistics) -> dict[str, Any]:
    histogram = seen.histogram
    return {
        # JSON has no infinity.
        'minimum': seen.minimum if seen.finite else None,
        'maximum': seen.maximum if seen.finite else None,
        'finite': seen.finite,
        'infinite': seen.infinite,
        'nan': seen.nan,
        'bins': histogram and base64.b64encode(histogram.bins.astype('<i4').tobytes()).decode(),
        'counts': histogram and base64.b64encode(histogram.counts.astype('<i8').tobytes()).decode(),
    }


def _tensor_from_json(seen: Mapping[str, Any]) -> TensorStatistics:
    return TensorStatistics(
        math.inf if seen['minimum'] is None else seen['minimum'],
        -math.inf if seen['maximum'] is None else seen['maximum'],
        seen['finite'],
        seen['infinite'],
        seen['nan'],
        None
        if seen['bins'] is None
        else Histogram(_numbers(seen['bins'], '<i4', np.int32), _numbers(seen['counts'], '<i8', np.int64)),
    )


def _numbers(text: str, stored: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), stored).astype(dtype)
