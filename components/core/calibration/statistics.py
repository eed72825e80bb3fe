"""Statistics of tensors that merge exactly: any order and any sharding give the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import apache_beam as beam
import numpy as np

from tfx_edge.components.core.errors import EdgeError


@dataclasses.dataclass(frozen=True)
class TensorStatistics:
    """What was seen of one tensor.

    Attributes:
      minimum: of the finite values; infinity if there is none.
      maximum: of the finite values; minus infinity if there is none.
      finite: number of finite values.
      infinite: number of infinities.
      nan: number of values that are not a number.
    """

    minimum: float = math.inf
    maximum: float = -math.inf
    finite: int = 0
    infinite: int = 0
    nan: int = 0


def measure(values: np.ndarray) -> TensorStatistics:
    """The statistics of an array.

    Args:
      values: floats, any shape.

    Returns:
      Its statistics; minus zero counts as zero.

    Example:
      >>> measure(np.array([1.0, -2.0, np.nan]))
      TensorStatistics(minimum=-2.0, maximum=1.0, finite=2, infinite=0, nan=1)
    """
    flat = values.ravel()
    low, high = (flat.min(), flat.max()) if flat.size else (np.inf, -np.inf)
    if np.isfinite(low) and np.isfinite(high):
        # The usual case takes two passes. Adding 0.0 turns -0.0 into 0.0, which order could decide otherwise.
        return TensorStatistics(float(low) + 0.0, float(high) + 0.0, flat.size)
    finite = flat[np.isfinite(flat)]
    nan = int(np.isnan(flat).sum())
    return TensorStatistics(
        minimum=float(finite.min()) + 0.0 if finite.size else math.inf,
        maximum=float(finite.max()) + 0.0 if finite.size else -math.inf,
        finite=finite.size,
        infinite=flat.size - finite.size - nan,
        nan=nan,
    )


def merge(one: TensorStatistics, other: TensorStatistics) -> TensorStatistics:
    """The statistics of both together; associative and commutative to the last bit."""
    return TensorStatistics(
        minimum=min(one.minimum, other.minimum),
        maximum=max(one.maximum, other.maximum),
        finite=one.finite + other.finite,
        infinite=one.infinite + other.infinite,
        nan=one.nan + other.nan,
    )


def ranges(statistics: Mapping[str, TensorStatistics]) -> dict[str, tuple[float, float]]:
    """(minimum, maximum) by tensor name.

    Raises:
      EdgeError: a tensor held NaN or infinity, or nothing.
    """
    for name, seen in statistics.items():
        if seen.nan or seen.infinite or not seen.finite:
            what = 'NaN' if seen.nan else 'infinity' if seen.infinite else 'no value'
            raise EdgeError(
                f'tensor {name.split(";")[0]!r} held {what} while calibrating; expected finite numbers. '
                'Look for such values in the examples, or for a division or logarithm in the model that makes them.'
            )
    return {name: (seen.minimum, seen.maximum) for name, seen in statistics.items()}


class MergeStatistics(beam.CombineFn):
    """Merges statistics by tensor name."""

    def create_accumulator(self) -> dict[str, TensorStatistics]:
        return {}

    def add_input(
        self, accumulator: dict[str, TensorStatistics], element: Mapping[str, TensorStatistics]
    ) -> dict[str, TensorStatistics]:
        for name, seen in element.items():
            accumulator[name] = merge(accumulator[name], seen) if name in accumulator else seen
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[str, TensorStatistics]]
    ) -> dict[str, TensorStatistics]:
        merged: dict[str, TensorStatistics] = {}
        for accumulator in accumulators:
            merged = self.add_input(merged, accumulator)
        return merged

    def extract_output(self, accumulator: dict[str, TensorStatistics]) -> dict[str, TensorStatistics]:
        return accumulator
