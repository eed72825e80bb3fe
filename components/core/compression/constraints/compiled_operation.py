"""Functions of arrays as one compiled operation each."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The function as one compiled operation, where this TensorFlow has the compiler.

    Args:
      function: of tensors of static shapes; may run as TensorFlow's single operations too.

    Returns:
      A function of the same arguments and results.

    Example:
      >>> compiled(tf.abs)(tf.constant([-1.0, 2.0])).numpy()
      array([1., 2.], dtype=float32)
    """
    return tf.function(function, jit_compile=True, autograph=False) if _has_compiler() else function


@functools.cache
def _has_compiler() -> bool:
    try:
        with tf.init_scope():
            tf.function(tf.identity, jit_compile=True, autograph=False)(tf.zeros([]))
    except tf.errors.OpError:
        return False
    return True
