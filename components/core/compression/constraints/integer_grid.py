"""The integer grid: the values a deployed kernel can hold.

A symmetric weight of `bits` bits holds integers from -largest to largest (`integer_types.largest`, 127 for
8 bits), times one scale for each output channel, which the quantizer chooses so that the largest
weight of the channel becomes `largest`. Folded kernels are arrays whose batch norm is already
multiplied in; see `weight_sites.channel_scale`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types

# How far from an integer a float may lie and still stand for it: two float32 roundings move it by up to
# 127 * 2**-22 (3e-5); 1e-3 leaves room for the converter's own order of operations.
_TOLERANCE = 1e-3


def channel_largest(kernel: tf.Tensor, channel_axes: tuple[int, ...]) -> tf.Tensor:
    """The largest magnitude of each output channel, from which the quantizer takes its scale.

    Args:
      kernel: the folded kernel, float32, of any shape.
      channel_axes: axes that count output channels.

    Returns:
      A tensor that broadcasts against the kernel.
    """
    others = [axis for axis in range(kernel.shape.rank) if axis not in channel_axes]
    return tf.reduce_max(tf.abs(kernel), axis=others, keepdims=True)


def to_integers(kernel: np.ndarray, channel_axes: tuple[int, ...], bits: int = 8) -> np.ndarray | None:
    """The integers that a kernel on the grid stands for, or None where it is off the grid.

    Args:
      kernel: the folded kernel.
      channel_axes: axes that count output channels.
      bits: of the integers.

    Returns:
      An int64 array of the kernel's shape, or None.

    Example:
      >>> to_integers(np.array([[64.0, 254.0], [-127.0, 2.0]], np.float32), (1,))
      array([[  64, 127],
             [-127,   1]])
    """
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channel_axes)
    largest = np.abs(kernel).max(axis=others, keepdims=True).astype(np.float64)
    scaled = kernel.astype(np.float64) / np.where(largest > 0, largest / integer_types.largest(bits), 1.0)
    integers = np.rint(scaled)
    return integers.astype(np.int64) if np.abs(scaled - integers).max() < _TOLERANCE else None
