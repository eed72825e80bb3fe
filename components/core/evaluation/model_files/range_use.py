"""How well the ranges of integer activations fit their values: counts of examples, and two figures made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.range_clipping import POSITIONS

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
        return RangeUse(0, np.zeros((tensors, POSITIONS), np.int64), np.zeros(tensors), np.zeros(tensors))

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
      clipping: see `range_clipping.clipping`.
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
