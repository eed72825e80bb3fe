"""Histograms of float32 numbers in fixed bins: they add up exactly in any order."""

from __future__ import annotations

import dataclasses

import numpy as np

# Each power of two is split into 2**6 equal bins, so a bin's width is at most 1/64 of its smallest magnitude.
_MANTISSA_BITS = 6
_SHIFT = 23 - _MANTISSA_BITS
# Bins of one sign, those of infinity and NaN (which are never counted) included.
_OF_A_SIGN = 1 << (31 - _SHIFT)


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
        counter.add(values)
        return counter.histogram()

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
    """Counts values, array after array, in dense arrays of up to 260 kB."""

    def __init__(self) -> None:
        self._positive = np.zeros(0, np.int64)
        self._negative = np.zeros(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Counts an array.

        Args:
          values: finite float32, any shape.
        """
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
        counts = np.bincount(bits >> _SHIFT)
        self._positive = _added(self._positive, counts[:_OF_A_SIGN])
        self._negative = _added(self._negative, counts[_OF_A_SIGN:])

    def histogram(self) -> Histogram:
        """What was counted so far."""
        negative, positive = np.flatnonzero(self._negative[1:]) + 1, np.flatnonzero(self._positive[1:]) + 1
        zeros = int(self._positive[:1].sum() + self._negative[:1].sum())
        bins = [-negative[::-1], np.zeros(min(zeros, 1), np.int64), positive]
        zero = np.full(min(zeros, 1), zeros, np.int64)
        counts = [self._negative[negative[::-1]], zero, self._positive[positive]]
        return Histogram(
            np.concatenate(bins).astype(np.int32), np.concatenate(counts).astype(np.int64, copy=False)
        )


def bin_of(value: float) -> int:
    """The bin that holds the magnitude of a finite number."""
    return int(np.abs(np.float32(value)).view(np.uint32) >> _SHIFT)


def edge(bins: np.ndarray) -> np.ndarray:
    """The smallest number in each bin, float64, 2**128 for the bin after the last; bins are not negative."""
    numbers = (bins.astype(np.uint32) << np.uint32(_SHIFT)).view(np.float32).astype(np.float64)
    return np.where(np.isinf(numbers), 2.0**128, numbers)


def _added(total: np.ndarray, more: np.ndarray) -> np.ndarray:
    if len(more) > len(total):
        grown = more.copy()
        grown[: len(total)] += total
        return grown
    total[: len(more)] += more
    return total
