"""What calibration measures of all tensors: added up by each worker, merged by Beam, written to a file."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np

from tfx_edge.components.core.calibration.channel_means import ChannelSums
from tfx_edge.components.core.calibration.histogram import Histogram
from tfx_edge.components.core.calibration.non_finite import NonFinite, Place
from tfx_edge.components.core.calibration.statistics import TensorStatistics, TensorTally, merge


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
    """

    def __init__(self, *, histograms: bool, channel_means_of: Collection[str] = ()) -> None:
        self._histograms = histograms
        self._channel_means_of = frozenset(channel_means_of)
        self._tensors: dict[str, TensorTally] = {}
        self._channel_sums: dict[str, ChannelSums] = {}
        self._non_finite: dict[str, NonFinite] = {}
        self.examples = 0
        self.arrays = 0

    def add(self, values: Iterable[tuple[str, np.ndarray]], place: Place | None = None) -> None:
        """Adds one example: float32 arrays by tensor name, each read before the next is asked for; and its place."""
        for name, array in values:
            if name not in self._tensors:
                self._tensors[name] = TensorTally(histograms=self._histograms)
            nan, infinite = self._tensors[name].add(array)
            if nan or infinite:
                held = NonFinite(1, nan > 0, place)
                self._non_finite[name] = self._non_finite[name] + held if name in self._non_finite else held
            if name in self._channel_means_of:
                sums = ChannelSums.of(array)
                self._channel_sums[name] = (
                    self._channel_sums[name] + sums if name in self._channel_sums else sums
                )
            self.arrays += 1
        self.examples += 1

    def measurements(self) -> Measurements:
        """The measurements of all examples added so far."""
        statistics = {name: tally.statistics() for name, tally in self._tensors.items()}
        return Measurements(self.examples, statistics, dict(self._channel_sums), dict(self._non_finite))


class MergeMeasurements(beam.CombineFn):
    """Merges measurements."""

    def create_accumulator(self) -> Measurements:
        return Measurements()

    def add_input(self, accumulator: Measurements, element: Measurements) -> Measurements:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Measurements]) -> Measurements:
        examples = 0
        statistics: dict[str, TensorStatistics] = {}
        sums: dict[str, ChannelSums] = {}
        non_finite: dict[str, NonFinite] = {}
        for accumulator in accumulators:
            examples += accumulator.examples
            for name, seen in accumulator.statistics.items():
                statistics[name] = merge(statistics[name], seen) if name in statistics else seen
            for name, sum_ in accumulator.channel_sums.items():
                sums[name] = sums[name] + sum_ if name in sums else sum_
            for name, held in accumulator.non_finite.items():
                non_finite[name] = non_finite[name] + held if name in non_finite else held
        return Measurements(examples, statistics, sums, non_finite)

    def extract_output(self, accumulator: Measurements) -> Measurements:
        return accumulator


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
