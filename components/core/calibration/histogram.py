"""Histograms of float32 numbers in fixed bins: they add up exactly in any order."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfx_edge.components.core.calibration.bin_counts import BLOCK, SHIFT, BinCounts

# Values that int32 can count at the most.
MOST_RECENT = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of float32 numbers by bin.

    The bin of a number is the upper part of its own bits: its exponent and the first 6 bits of its mantissa. So edges
    are exact, and a bin gives its values with a relative error of 1/64 at most. Bin b > 0 holds the positive numbers
    from `edge(b)` up to, but not, `edge(b + 1)`; bin -b the same numbers negated; bin 0 is zero, minus zero, and
    what is smaller than 2**-132.

    Attributes:
      bins: int32 (n,), sorted, each once.
      counts: int64 (n,), at least 1 each.

    Example:
      >>> Histogram.of(np.array([0.0, 1.0, 1.0, -2.5], np.float32)).counts
      array([1, 1, 2])
    """

    bins: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram:
        """The histogram of finite float32 values of any shape."""
        counter = HistogramCounter()
        counter.add(values, float(np.abs(values).max(initial=0.0)))
        return counter.histogram()

    @classmethod
    def of_counts(cls, positive: np.ndarray, negative: np.ndarray) -> Histogram:
        """The histogram of values that were counted by the bin of their magnitude, without and with a sign."""
        above, below = np.flatnonzero(positive[1:]) + 1, np.flatnonzero(negative[1:])[::-1] + 1
        zeros = int(positive[:1].sum(dtype=np.int64) + negative[:1].sum(dtype=np.int64))
        at_zero = np.zeros(min(zeros, 1), np.int64)
        return cls(
            np.concatenate([-below, at_zero, above]).astype(np.int32),
            np.concatenate([negative[below], at_zero + zeros, positive[above]]).astype(np.int64, copy=False),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self.bins, other.bins) and np.array_equal(self.counts, other.counts)

    def __add__(self, other: Histogram) -> Histogram:
        """The histogram of both together; associative and commutative to the last count."""
        bins = np.concatenate([self.bins, other.bins])
        if not bins.size:
            return self
        order = np.argsort(bins, kind='stable')
        merged, starts = np.unique(bins[order], return_index=True)
        counts = np.concatenate([self.counts, other.counts])[order]
        return Histogram(merged, np.add.reduceat(counts, starts))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper edge of each bin, float64 (n,) each; both are 0 for bin 0."""
        inner, outer = edge(np.abs(self.bins)), edge(np.abs(self.bins) + 1)
        inner[self.bins == 0] = outer[self.bins == 0] = 0.0
        negative = self.bins < 0
        return np.where(negative, -outer, inner), np.where(negative, -inner, outer)


class HistogramCounter:
    """Counts values, array after array, in dense arrays of up to 130 kB.

    Args:
      bin_counts: of blocks; counters that one thread uses may share it.
    """

    def __init__(self, bin_counts: BinCounts | None = None) -> None:
        self._bin_counts = BinCounts() if bin_counts is None else bin_counts
        # Without and with a sign, by bin.
        self._counts = np.zeros((2, 0), np.int32)
        self._largest = -1.0
        # How many values these hold at the most, and those that were counted before.
        self._recent = 0
        self._before = Histogram()

    def add(self, values: np.ndarray, largest: float) -> None:
        """Counts an array.

        Args:
          values: float32, any shape, contiguous in the last axis. What lies beyond the bin of `largest`, such as NaN
            and infinities, is not counted.
          largest: the largest magnitude among those to count, or a larger one.
        """
        if largest > self._largest:
            self._make_room(largest)
        if values.size <= BLOCK:
            self._add_block(values)
            return
        flat = values.ravel()
        for start in range(0, flat.size, BLOCK):
            self._add_block(flat[start : start + BLOCK])

    def histogram(self) -> Histogram:
        """What was counted so far."""
        positive, negative = self._counts
        return self._before + Histogram.of_counts(positive, negative)

    def _add_block(self, block: np.ndarray) -> None:
        if self._recent + block.size > MOST_RECENT:
            self._before, self._recent = self.histogram(), 0
            self._counts[:] = 0
        self._recent += block.size
        one, other = self._bin_counts(block)
        bins = self._counts.shape[1]
        self._counts += one[:, :bins]
        self._counts += other[:, :bins]

    def _make_room(self, largest: float) -> None:
        self._largest = largest
        bins, known = bin_of(largest) + 1, self._counts.shape[1]
        if bins > known:
            self._counts = np.pad(self._counts, ((0, 0), (0, bins - known)))


def bin_of(value: float) -> int:
    """The bin that holds the magnitude of a finite number."""
    return int(np.abs(np.float32(value)).view(np.uint32) >> SHIFT)


def edge(bins: np.ndarray) -> np.ndarray:
    """The smallest number in each bin, float64, 2**128 for the bin after the last; bins are not negative."""
    numbers = (bins.astype(np.uint32) << np.uint32(SHIFT)).view(np.float32).astype(np.float64)
    return np.where(np.isinf(numbers), 2.0**128, numbers)
