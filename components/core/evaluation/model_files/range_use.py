"""How well the ranges of integer activations fit their values: exact counts, and two figures made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core import integer_types

# A range is divided into as many cells as int8 has integers.
CELLS = integer_types.levels(8)
# Positions from 2 ranges below to 2 ranges above; values beyond count at the ends.
_POSITIONS = 5 * CELLS
_FIRST = 2 * CELLS
# Of int8.
_STEPS = integer_types.steps(8)
# How many are reported of each kind.
_WORST = 5


@dataclasses.dataclass(frozen=True)
class RangeUse:
    """What examples use of the ranges of a file's tensors; sums and extremes are the same in any order.

    Attributes:
      examples: how many.
      counts: int64 of shape (tensors, positions): values at each position, within the range and outside.
      low: float64 of shape (tensors,): lowest step from the zero point within the range, at most 0.
      high: float64 of shape (tensors,): highest step, at least 0.
    """

    examples: int
    counts: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def none(tensors: int) -> RangeUse:
        """No example yet."""
        return RangeUse(0, np.zeros((tensors, _POSITIONS), np.int64), np.zeros(tensors), np.zeros(tensors))

    @staticmethod
    def of_example(rows: Sequence[tuple[np.ndarray, float, float]]) -> RangeUse:
        """One example: `counts`, `low` and `high` of each tensor."""
        counts, low, high = zip(*rows, strict=True)
        return RangeUse(1, np.stack(counts), np.array(low), np.array(high))

    def __add__(self, other: RangeUse) -> RangeUse:
        return RangeUse(
            self.examples + other.examples,
            self.counts + other.counts,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


def position_counts(cells: np.ndarray) -> np.ndarray:
    """How many values lie in each position.

    Args:
      cells: integers of shape (values,); 0 to CELLS - 1 within the range, others outside.

    Returns:
      int64 of shape (positions,).
    """
    return np.bincount(np.clip(cells + _FIRST, 0, _POSITIONS - 1), minlength=_POSITIONS).astype(np.int64)


def clipping(counts: np.ndarray) -> float:
    """The share of the values' variation that the ends of the range cut off, 0 to 1.

    It is c / (c + s), where c is the sum of the distances of clipped values from the end of the range, and s the sum of
    all values' distances from their median before clipping. So it is 0 if nothing is clipped, and grows with the number
    of clipped values and their distances. Adding a constant to the values and the range does not change it.

    Args:
      counts: of one tensor, as `position_counts` returns them.

    Returns:
      The share.

    Example:
      >>> clipping(position_counts(np.array([0, 0, 100, 355])))
      0.18...
    """
    cells = np.arange(_POSITIONS, dtype=np.int64) - _FIRST
    total = int(counts.sum())
    cut = int((counts * (np.maximum(cells - (CELLS - 1), 0) + np.maximum(-cells, 0))).sum())
    if not cut:
        return 0.0
    median = cells[np.searchsorted(np.cumsum(counts), (total + 1) // 2)]
    return cut / (cut + int((counts * np.abs(cells - median)).sum()))


def range_used(low: float, high: float) -> float | None:
    """How many steps lie between the lowest and the highest value, 0 included, as a share of the 255 of int8.

    For int8 it is the share of the range that is used. An int16 tensor has 257 times as many steps, so for it the
    figure is 1 unless its range is hundreds of times too wide.

    Args:
      low: lowest step from the zero point, at most 0.
      high: highest step, at least 0.

    Returns:
      The share, at most 1; None when all values are 0, which any range holds.
    """
    return min(1.0, (high - low) / _STEPS) if high > low else None


@dataclasses.dataclass(frozen=True)
class TensorFit:
    """How well a tensor's range fits its values.

    Attributes:
      name: of the tensor.
      clipping: see `clipping`.
      range_used: see `range_used`; by all tensors that pass values on to each other with one range.
      low: the smallest real number that the tensor can hold.
      high: the largest.
    """

    name: str
    clipping: float
    range_used: float | None
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class CalibrationFit:
    """How well the ranges of a file fit the examples of an evaluation.

    Attributes:
      examples: number of examples that the file was run on for this.
      tensors: in order of execution.
      obstacle: why the fit cannot be judged, or ''.
    """

    examples: int
    tensors: tuple[TensorFit, ...]
    obstacle: str = ''

    @property
    def most_clipped(self) -> TensorFit:
        """The first tensor with the largest `clipping`."""
        return max(self.tensors, key=lambda tensor: tensor.clipping)

    @property
    def least_used(self) -> TensorFit | None:
        """The first tensor with the smallest `range_used`; None when all values of all tensors are 0."""
        return next(iter(self.by_range_used), None)

    @property
    def by_range_used(self) -> list[TensorFit]:
        """The tensors that hold more than zeros, those that use least of their range first."""
        used = [
            (tensor.range_used, n) for n, tensor in enumerate(self.tensors) if tensor.range_used is not None
        ]
        return [self.tensors[n] for _, n in sorted(used)]

    @property
    def worst(self) -> tuple[TensorFit, ...]:
        """The few that are clipped most, then the few that use least of their range; each once."""
        clipped = sorted((t for t in self.tensors if t.clipping > 0), key=lambda t: -t.clipping)
        return tuple(dict.fromkeys([*clipped[:_WORST], *self.by_range_used[:_WORST]]))
