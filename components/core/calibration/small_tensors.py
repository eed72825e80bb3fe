"""Statistics of a net's small tensors, measured together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tfx_edge.components.core.calibration.bin_counts import BLOCK, BinCounts
from tfx_edge.components.core.calibration.histogram import Histogram, HistogramCounter
from tfx_edge.components.core.calibration.statistics import TensorStatistics, limits_of_finite

# Larger tensors are measured one by one: what a call costs is little beside them.
SMALL = BLOCK // 8
# Values of all examples that wait to be counted: 8 MiB.
_WAITING = 1 << 21


class SmallTensors:
    """Adds up the statistics of tensors that have the same sizes in each example.

    A call of NumPy on a hundred values takes as long as on thousands, and most of a net's activations are small. So
    the tensors of an example are put one behind the other, and their limits are found at once; their histograms are
    counted for several examples at once.

    Args:
      names: of the tensors.
      sizes: how many values each has; at least 1, at most SMALL.
      bin_counts: for histograms; None where none are wanted.

    Example:
      >>> tensors = SmallTensors(('a', 'b'), (2, 1), None)
      >>> list(tensors.add([np.float32([1, 2]), np.float32([np.nan])]))
      [('b', 1, 0)]
      >>> tensors.statistics()['a']
      TensorStatistics(minimum=1.0, maximum=2.0, finite=2, infinite=0, nan=0, histogram=None)
    """

    def __init__(
        self, names: tuple[str, ...], sizes: tuple[int, ...], bin_counts: BinCounts | None = None
    ) -> None:
        self.names, self.sizes = names, sizes
        ends = np.cumsum(sizes, dtype=np.intp)
        self._starts = ends - sizes
        self._spans = [slice(int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]
        self._minimum = np.full(len(names), np.inf, np.float32)
        self._maximum = np.full(len(names), -np.inf, np.float32)
        self._nan, self._infinite = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        self._counters = [HistogramCounter(bin_counts) for _ in names if bin_counts is not None]
        self._examples = self._waiting = 0
        width = sum(sizes)
        rows = max(1, min(_WAITING // width, BLOCK // max(sizes))) if self._counters else 1
        self._values = np.empty((rows, width), np.float32)

    def add(self, arrays: Sequence[np.ndarray]) -> Iterator[tuple[str, int, int]]:
        """Adds an example: a float32 array of each tensor.

        Returns:
          For each tensor that held any: its name, how many values were NaN, and how many infinite.
        """
        row = self._values[self._waiting]
        np.concatenate(arrays, axis=None, out=row)
        low = np.minimum.reduceat(row, self._starts)
        high = np.maximum.reduceat(row, self._starts)
        # NaN and infinities show in the minimum or the maximum.
        odd = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))).tolist()
        held = [(place, *self._add_odd(row, place, low, high)) for place in odd]
        np.minimum(self._minimum, low, out=self._minimum)
        np.maximum(self._maximum, high, out=self._maximum)
        self._examples += 1
        if self._counters:
            self._waiting += 1
            if self._waiting == len(self._values):
                self._count()
        return ((self.names[place], nan, infinite) for place, nan, infinite in held)

    def statistics(self) -> dict[str, TensorStatistics]:
        """The statistics of all examples, by tensor name."""
        if self._waiting:
            self._count()
        histograms: list[Histogram | None] = [counter.histogram() for counter in self._counters]
        histograms = histograms or [None for _ in self.names]
        return {
            name: TensorStatistics(
                # Adding 0.0 turns -0.0 into 0.0.
                minimum=low + 0.0,
                maximum=high + 0.0,
                finite=self._examples * size - nan - infinite,
                infinite=infinite,
                nan=nan,
                histogram=histogram,
            )
            for name, size, low, high, nan, infinite, histogram in zip(
                self.names,
                self.sizes,
                self._minimum.tolist(),
                self._maximum.tolist(),
                self._nan.tolist(),
                self._infinite.tolist(),
                histograms,
                strict=True,
            )
        }

    def _add_odd(self, row: np.ndarray, place: int, low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
        """Counts a tensor's NaN and infinities, and sets its limits to those of its finite values."""
        values = row[self._spans[place]]
        low[place], high[place], nan, infinite = limits_of_finite(values)
        self._nan[place] += nan
        self._infinite[place] += infinite
        return nan, infinite

    def _count(self) -> None:
        """Adds to the histograms what waits for it; NaN and infinities lie beyond the bins of the largest value."""
        for counter, span, low, high in zip(
            self._counters, self._spans, self._minimum.tolist(), self._maximum.tolist(), strict=False
        ):
            counter.add(self._values[: self._waiting, span], max(-low, high, 0.0))
        self._waiting = 0
