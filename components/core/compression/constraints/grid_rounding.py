"""Rounds a folded kernel to the integers of its channels, all of them or those of a codebook.

The quotient of a weight and its channel's scale falls into one of a few hundred bins, each half an integer wide, and a
small table says what every bin becomes. So the time does not grow with the size of the codebook, and a large kernel
is read once to find its scales and once to be rounded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints.compiled_operation import compiled
from tfx_edge.components.core.compression.constraints.integer_grid import channel_largest
from tfx_edge.components.core.compression.constraints.straight_through import straight_through

# Weights of fewer take no time worth a compilation of a tenth of a second.
_COMPILED_FROM = 2**15


def round_to_grid(weight: tf.Tensor, axes: tuple[int, ...], sign: tf.Tensor | None, bits: int) -> tf.Tensor:
    """Rounds a weight to the integers that it ships as; halfway, to the lower of them.

    Args:
      weight: float32, of a static shape.
      axes: that the kernel ships with scales along.
      sign: -1, 0 or 1 for each scale, of what folding multiplies by; broadcasts against the weight. None: nothing
        is folded. Where it is 0 the weight stays as it is.
      bits: of the integers.

    Returns:
      A tensor of the weight's shape. Its gradient passes to the weight unchanged.

    Example:
      >>> round_to_grid(tf.constant([[1.0, 0.503]]), (), None, 8).numpy()  # 0.503 * 127 is 63.9
      array([[1.        , 0.503937]], dtype=float32)
    """
    limit = integer_types.largest(bits)
    # Each integer ends one bin, and the half above it the next.
    table = tf.constant(_quotients(limit)[np.arange(4 * limit + 1) // 2])
    projected, _ = _run(_looked_up, weight, axes, limit)(*_parts(weight, sign), table)
    return straight_through(weight, tf.stop_gradient(projected))


def round_to_members(
    weight: tf.Tensor, members: tf.Tensor, axes: tuple[int, ...], sign: tf.Tensor | None, bits: int
) -> tf.Tensor:
    """Rounds a weight to the members of a codebook of integers; halfway, to the lower of them.

    Args:
      weight: float32, of a static shape.
      members: integers as float32, of shape (1, K), sorted; some may be equal; none is larger than the largest of
        `bits`.
      axes: as in `round_to_grid`.
      sign: as in `round_to_grid`.
      bits: of the integers.

    Returns:
      A tensor of the weight's shape. A member's gradient is the sum over the weights that took it (Han, Mao and Dally,
      2016, arXiv:1510.00149); the weights themselves get none.

    Example:
      >>> round_to_members(tf.constant([1.0, 0.4]), tf.constant([[-127.0, 0.0, 127.0]]), (), None, 8).numpy()
      array([1., 0.], dtype=float32)
    """
    limit = integer_types.largest(bits)
    parts = _parts(weight, sign)
    size = members.shape[1]

    @tf.custom_gradient
    def rounded(members: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        places = _places(members, limit)
        integers = tf.cast(tf.gather(members[0], places), tf.int32)
        entries = tf.clip_by_value(integers + limit, 0, 2 * limit)
        table = tf.gather(tf.constant(_quotients(limit)), entries)
        # A member that training made NaN is nearest to nothing; it has to show in the loss.
        table = tf.where(tf.reduce_all(tf.math.is_finite(members)), table, np.nan)
        chosen, largest = _run(_looked_up, weight, axes, limit)(*parts, table)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            shares, bins = _run(_member_shares, weight, limit)(*parts, largest, upstream)
            by_bin = tf.math.unsorted_segment_sum(
                tf.reshape(shares, [-1]), tf.reshape(bins, [-1]), 4 * limit + 1
            )
            return tf.math.unsorted_segment_sum(by_bin, places, size)[None]

        return chosen, gradient

    return rounded(members)


def _parts(weight: tf.Tensor, sign: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    rank = len(weight.shape)
    return tf.stop_gradient(weight), tf.ones([1] * rank, weight.dtype) if sign is None else sign


def _run(function: Callable, weight: tf.Tensor, *settings: object) -> Callable:
    """The function with its first arguments set, compiled if the weight is large."""
    made = _with_settings(function, tuple(weight.shape), *settings)
    return compiled(made) if weight.shape.num_elements() >= _COMPILED_FROM else made


@functools.cache
def _with_settings(function: Callable, shape: tuple[int, ...], *settings: object) -> Callable:
    """One function for each shape: TensorFlow warns of one that is traced for many."""
    del shape
    return functools.partial(function, *settings)


def _largest(weight: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """The largest magnitude of each channel.

    A compiled maximum over the first axis goes through each column by itself. Four rows at a time take half the time.
    """
    magnitudes = tf.abs(weight)
    if axes and 0 not in axes and weight.shape[0] % 4 == 0:
        first, second, third, fourth = tf.split(magnitudes, 4)
        magnitudes = tf.maximum(tf.maximum(first, second), tf.maximum(third, fourth))
    return channel_largest(magnitudes, axes)


def _scaled(weight: tf.Tensor, sign: tf.Tensor, largest: tf.Tensor, limit: int) -> tf.Tensor:
    """The weight in steps of its scale, from -limit to limit; channels that are all zero have no scale."""
    return weight * sign / tf.where(largest > 0, largest, tf.ones_like(largest)) * float(limit)


def _bins(scaled: tf.Tensor, limit: int) -> tf.Tensor:
    """Bins counted from the lowest: bin b ends at b / 2 - limit, and holds its end."""
    # Without the bounds, NaN would be outside of the table.
    return tf.clip_by_value(tf.cast(tf.math.ceil(2.0 * scaled), tf.int32) + 2 * limit, 0, 4 * limit)


def _places(members: tf.Tensor, limit: int) -> tf.Tensor:
    """The member that each bin takes: as many as there are midpoints below it. Twice a midpoint is an integer."""
    bins = tf.range(-2 * limit, 2 * limit + 1, dtype=members.dtype)
    midpoints = members[0, :-1] + members[0, 1:]
    return tf.math.count_nonzero(bins[:, None] > midpoints, axis=1, dtype=tf.int32)


def _looked_up(
    axes: tuple[int, ...], limit: int, weight: tf.Tensor, sign: tf.Tensor, table: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The weight as the table has it, and the largest magnitude of each channel."""
    largest = _largest(weight, axes)
    bins = _bins(_scaled(weight, sign, largest, limit), limit)
    return _turned_back(tf.gather(table, bins) * largest, weight, sign), largest


def _turned_back(rounded: tf.Tensor, weight: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    """The rounded kernel with its signs taken off; NaN, which has no bin, stays NaN, and so shows in the loss.

    A channel that batch norm multiplies by zero ships as zeros, whatever its weights are.
    """
    return tf.where((sign != 0) & ~tf.math.is_nan(weight), rounded * sign, weight)


def _member_shares(
    limit: int, weight: tf.Tensor, sign: tf.Tensor, largest: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """What each weight adds to the gradient of its member, and its bin."""
    bins = _bins(_scaled(weight, sign, largest, limit), limit)
    return upstream * (sign * largest / float(limit)), bins


@functools.cache
def _quotients(limit: int) -> np.ndarray:
    """-1 to 1: each integer of the grid by the largest, divided exactly, so that what is rounded rounds to itself."""
    return np.arange(-limit, limit + 1, dtype=np.float32) / np.float32(limit)
