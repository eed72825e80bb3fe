"""Statistics of tensors that merge exactly: any order and any sharding give the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.calibration.bin_counts import BinCounts
from tfx_edge.components.core.calibration.histogram import Histogram, HistogramCounter
from tfx_edge.components.core.errors import EdgeError


@dataclasses.dataclass(frozen=True)
class TensorStatistics:
    """Statistics of one tensor's values.

    Attributes:
      minimum: of the finite values; infinity if there is none.
      maximum: of the finite values; minus infinity if there is none.
      finite: number of finite values.
      infinite: number of infinities.
      nan: number of values that are not a number.
      histogram: of the finite values; None where it was not asked for.
    """

    minimum: float = math.inf
    maximum: float = -math.inf
    finite: int = 0
    infinite: int = 0
    nan: int = 0
    histogram: Histogram | None = None


class TensorTally:
    """Adds up the statistics of a tensor, array after array.

    Args:
      histograms: whether to count a histogram too, which takes twice as long as all the rest.
      bin_counts: for histograms; tallies that one thread uses may share it.
    """

    def __init__(self, *, histograms: bool, bin_counts: BinCounts | None = None) -> None:
        self._minimum, self._maximum = math.inf, -math.inf
        self._finite = self._infinite = self._nan = 0
        self._counter = HistogramCounter(bin_counts) if histograms else None

    def add(self, values: np.ndarray) -> tuple[int, int]:
        """Adds an array of float32, of any shape; returns how many were NaN, and how many infinite."""
        flat = values.ravel()
        low, high = _limits(flat)
        nan = infinite = 0
        # The usual case takes two passes: NaN and infinities show in the minimum or the maximum.
        if not (-math.inf < low and high < math.inf):
            low, high, nan, infinite = limits_of_finite(flat)
            self._nan += nan
            self._infinite += infinite
        # Adding 0.0 turns -0.0 into 0.0; otherwise the order of arrays would decide which of both is kept.
        self._minimum = min(self._minimum, low + 0.0)
        self._maximum = max(self._maximum, high + 0.0)
        self._finite += flat.size - nan - infinite
        if self._counter is not None:
            self._counter.add(flat, max(-low, high, 0.0))
        return nan, infinite

    def statistics(self) -> TensorStatistics:
        """The statistics of all values that were added."""
        return TensorStatistics(
            self._minimum,
            self._maximum,
            self._finite,
            self._infinite,
            self._nan,
            None if self._counter is None else self._counter.histogram(),
        )


def measure(values: np.ndarray, *, histograms: bool = True) -> TensorStatistics:
    """The statistics of an array.

    Args:
      values: float32, any shape.
      histograms: whether to count a histogram.

    Returns:
      Its statistics; minus zero counts as zero.

    Example:
      >>> measure(np.array([1.0, -2.0, np.nan], np.float32), histograms=False)
      TensorStatistics(minimum=-2.0, maximum=1.0, finite=2, infinite=0, nan=1, histogram=None)
    """
    tally = TensorTally(histograms=histograms)
    tally.add(values)
    return tally.statistics()


def merge(one: TensorStatistics, other: TensorStatistics) -> TensorStatistics:
    """The statistics of both together; associative and commutative to the last bit.

    Where one of both counted no value, its missing histogram is an empty one.
    """
    histograms = [h for h in (one.histogram, other.histogram) if h is not None]
    return TensorStatistics(
        minimum=min(one.minimum, other.minimum),
        maximum=max(one.maximum, other.maximum),
        finite=one.finite + other.finite,
        infinite=one.infinite + other.infinite,
        nan=one.nan + other.nan,
        histogram=sum(histograms[1:], histograms[0]) if histograms else None,
    )


def of_zeros(count: int, *, histograms: bool) -> TensorStatistics:
    """The statistics of so many zeros."""
    if not count:
        return TensorStatistics(histogram=Histogram() if histograms else None)
    counted = Histogram(np.zeros(1, np.int32), np.array([count], np.int64)) if histograms else None
    return TensorStatistics(0.0, 0.0, count, histogram=counted)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Minimum and maximum; NaN if one is NaN."""
    low = np.minimum.reduce(values, initial=np.inf)
    return float(low), float(np.maximum.reduce(values, initial=-np.inf))


def limits_of_finite(values: np.ndarray) -> tuple[float, float, int, int]:
    """Minimum and maximum of the finite values (infinity and minus infinity if there is none).

    Args:
      values: float32 (n,).

    Returns:
      Both, how many values are NaN, and how many infinite.
    """
    nan = int(np.isnan(values).sum())
    finite = values[np.isfinite(values)]
    return *_limits(finite), nan, values.size - finite.size - nan


def require_finite(statistics: Mapping[str, TensorStatistics]) -> None:
    """Refuses tensors that have no range.

    Raises:
      EdgeError: a tensor held NaN or infinity, or nothing; the first one is named.
    """
    for name, seen in statistics.items():
        if seen.nan or seen.infinite or not seen.finite:
            what = 'NaN' if seen.nan else 'infinity' if seen.infinite else 'no value'
            raise EdgeError(
                f'tensor {name.split(";")[0]!r} held {what} while calibrating; expected finite numbers. '
                'Look for such values in the examples, or for a division or logarithm in the model that makes them.'
            )
