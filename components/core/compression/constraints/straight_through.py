"""The straight-through estimator."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


@tf.custom_gradient
def straight_through(free: tf.Tensor, projected: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tuple]]:
    """`projected`, exactly; the gradient passes unchanged to both `projected` and `free`.

    Bengio, Léonard and Courville, 2013, arXiv:1308.3432.

    Args:
      free: float32.
      projected: of the same shape, computed from `free` behind a `stop_gradient`.

    Returns:
      A tensor of their shape.

    Example:
      >>> straight_through(x, tf.round(x))  # rounds; d/dx is 1
    """
    return tf.identity(projected), lambda upstream: (upstream, upstream)
