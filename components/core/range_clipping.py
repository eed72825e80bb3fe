"""How much of what makes values differ the ends of a range cut off, of exact counts."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core import integer_types

# A range is divided into as many cells as int8 has integers.
CELLS = integer_types.levels(8)
# How many ranges below and above the range have positions of their own; values beyond count at the ends.
RANGES_BESIDE = 2
POSITIONS = (1 + 2 * RANGES_BESIDE) * CELLS
_FIRST = RANGES_BESIDE * CELLS


def position_counts(cells: np.ndarray) -> np.ndarray:
    """How many values lie in each position.

    Args:
      cells: integers of shape (values,); 0 to CELLS - 1 within the range, others outside.

    Returns:
      int64 of shape (positions,).
    """
    return np.bincount(np.clip(cells + _FIRST, 0, POSITIONS - 1), minlength=POSITIONS).astype(np.int64)


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
    cells = np.arange(POSITIONS, dtype=np.int64) - _FIRST
    total = int(counts.sum())
    cut = int((counts * (np.maximum(cells - (CELLS - 1), 0) + np.maximum(-cells, 0))).sum())
    if not cut:
        return 0.0
    median = cells[np.searchsorted(np.cumsum(counts), (total + 1) // 2)]
    return cut / (cut + int((counts * np.abs(cells - median)).sum()))
