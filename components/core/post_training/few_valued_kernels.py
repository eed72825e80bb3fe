"""Whether a kernel takes few distinct values: clustered, or trained on an integer grid."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.integer_types import narrow_steps

# The number of integers that an int8 kernel can hold.
_MAX_VALUES = narrow_steps(8) + 1
_MANTISSA_BITS_DROPPED = 8


def has_few_values(kernel: np.ndarray, channel_axis: int) -> bool:
    """Whether clustering or quantization-aware training made a kernel, as far as its values show.

    They make kernels q * s_c with few distinct q and a scale s_c for each output channel, or one scale for all (or few
    values in each channel); batch-norm folding changes only s_c. Weights that nothing constrains hardly ever repeat.

    Args:
      kernel: float32.
      channel_axis: the axis that counts output channels.

    Returns:
      True when there are at most 255 values, and at least two weights for each. Zeros are not counted, nor the largest
      magnitude of each channel, which every kernel has.

    Example:
      >>> has_few_values(np.array([[1, 2, 1, 2], [-2, 4, 4, -2]], np.float32), 0)
      True
    """
    rows = np.moveaxis(kernel, channel_axis, 0).reshape(kernel.shape[channel_axis], -1).astype(np.float32)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    normalized = _rounded(rows / np.where(largest > 0, largest, 1))
    weights = np.count_nonzero(rows) - np.count_nonzero(largest)
    together = _count(normalized)
    with_one_scale = _count(_rounded(rows / (largest.max() or 1)))
    in_rows = [_count(row) for row in normalized]
    return weights > 0 and any(
        most <= _MAX_VALUES and 2 * total <= weights
        for most, total in (
            (together, together),
            (with_one_scale, with_one_scale),
            (max(in_rows), sum(in_rows)),
        )
    )


def _rounded(values: np.ndarray) -> np.ndarray:
    """Integers that are equal for floats equal but for their last bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    return (bits + (1 << (_MANTISSA_BITS_DROPPED - 1))) >> _MANTISSA_BITS_DROPPED


def _count(rounded: np.ndarray) -> int:
    """The number of distinct values other than 0, 1 and -1."""
    one = _rounded(np.ones(1))[0]
    magnitudes = rounded & (0x7FFFFFFF >> _MANTISSA_BITS_DROPPED)
    return len(np.unique(rounded[(magnitudes != 0) & (magnitudes != one)]))
