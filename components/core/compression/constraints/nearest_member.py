"""The member of a codebook nearest to each weight, found in one pass over the weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.constraints.compiled_operation import compiled

# Members that one compiled operation compares with: 16 KB, which a processor's first cache holds.
_BLOCK_SIZE = 4096


def nearest_member(values: tf.Tensor, members: tf.Tensor, channel_axes: tuple[int, ...]) -> tf.Tensor:
    """Replaces each value by the nearest member of its group's codebook.

    The gradient of a member is the sum over the values that took it (Han, Mao and Dally, 2016,
    arXiv:1510.00149); the values themselves get none. A value halfway takes the lower member.

    One pass over the values compares each with all midpoints. As one compiled operation this costs a
    tenth of a binary search, and no array of values times members exists.

    Args:
      values: float32, of a static shape.
      members: float32, of shape (groups, K), sorted along K.
      channel_axes: axes of `values` whose indices, in their order, count the groups; not used when there
        is one group.

    Returns:
      A tensor of the shape of `values`.

    Example:
      >>> nearest_member(tf.constant([0.1, 0.8]), tf.constant([[0.0, 1.0]]), ()).numpy()
      array([0., 1.], dtype=float32)
    """
    groups, size = members.shape
    shape = [length if groups > 1 and axis in channel_axes else 1 for axis, length in enumerate(values.shape)]
    first = (np.arange(groups, dtype=np.int32) * size).reshape(shape)
    split_axis = int(np.argmax(shape)) if shape else 0

    def in_blocks(function: Callable[..., tf.Tensor], *arrays: tf.Tensor) -> tf.Tensor:
        length = shape[split_axis] if shape else 1
        block = max(1, _BLOCK_SIZE * length // (groups * size))
        if length <= block:
            return compiled(function)(*arrays)
        sizes = [min(block, length - start) for start in range(0, length, block)]
        # The table has an axis more than the values, in front.
        parts = [tf.split(a, sizes, split_axis + (len(a.shape) - len(shape))) for a in arrays]
        return tf.concat([compiled(function)(*part) for part in zip(*parts, strict=True)], split_axis)

    @tf.custom_gradient
    def lookup(values: tf.Tensor, members: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tuple]]:
        table = tf.reshape(tf.transpose(members), [size, *shape])

        def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor]:
            places = tf.reshape(in_blocks(_place, values, table, tf.constant(first)), [-1])
            sums = tf.math.unsorted_segment_sum(tf.reshape(upstream, [-1]), places, groups * size)
            return None, tf.reshape(sums, [groups, size])

        return in_blocks(_member, values, table), gradient

    return lookup(values, members)


def _member(values: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """The nearest member; `table` has K in front of the axes of `values`."""
    chosen = tf.broadcast_to(table[0], values.shape)
    for lower, upper in itertools.pairwise(tf.unstack(table)):
        chosen = tf.where(values > (lower + upper) / 2, upper, chosen)
    return chosen


def _place(values: tf.Tensor, table: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """The nearest member's index in the flat array of all rows; `first` holds that of each row's first member."""
    place = tf.broadcast_to(first, values.shape)
    for lower, upper in itertools.pairwise(tf.unstack(table)):
        place += tf.cast(values > (lower + upper) / 2, tf.int32)
    return place
