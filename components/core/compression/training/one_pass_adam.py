"""Adam as one operation for each variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class OnePassAdam(keras.optimizers.Optimizer):
    """`keras.optimizers.Adam` at its defaults, whose update reads and writes each variable once.

    Keras computes the update as a dozen operations, each of which goes over a variable or its moments once more.
    TensorFlow's own operation computes the same formula (Kingma and Ba, 2015, arXiv:1412.6980) in one pass; results
    differ from those of Keras in rounding alone.

    Args:
      learning_rate: a float, or a schedule of Keras.

    Example:
      >>> OnePassAdam(1e-3).learning_rate.numpy().item()
      0.0010000000474974513
    """

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Makes the two moments of each variable, zeros at first."""
        if self.built:
            return
        super().build(variables)
        self._moments = [
            (
                self.add_variable_from_reference(variable, name='momentum'),
                self.add_variable_from_reference(variable, name='velocity'),
            )
            for variable in variables
        ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Moves one variable and its moments."""
        momentum, velocity = self._moments[self._get_variable_index(variable)]
        dtype = variable.dtype
        rate = tf.cast(tf.convert_to_tensor(learning_rate), dtype)
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.cast(_BETA_1, dtype) ** step,
            beta2_power=tf.cast(_BETA_2, dtype) ** step,
            lr=rate,
            beta1=tf.cast(_BETA_1, dtype),
            beta2=tf.cast(_BETA_2, dtype),
            epsilon=tf.cast(_EPSILON, dtype),
            grad=tf.cast(gradient, dtype),
        )
