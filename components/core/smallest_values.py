"""The smallest of many values, kept on Beam."""

from __future__ import annotations

import apache_beam as beam


def smallest(size: int) -> beam.CombineFn:
    """Keeps the smallest values, in their order; the same ones whatever the order they come in.

    `beam.combiners.Top.Smallest` keeps the same with four steps more, which make a list of no values where there are
    none.

    Args:
      size: how many at most.

    Example:
      >>> smallest(2).apply([3, 1, 2])
      [1, 2]
    """
    return beam.combiners.TopCombineFn(size, reverse=True)
