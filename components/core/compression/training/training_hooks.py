"""What a technique adds to the training loop, which knows no technique by itself."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Pairs of a gradient and the trained variable that it is of, each of the variable's shape.
Gradients = Sequence[tuple[tf.Tensor, tf.Variable]]


class TrainingHooks:
    """What is done before and in each step of `fine_tune`; a technique overrides what it needs.

    Args:
      state: variables besides the trained ones that the hooks change; a run that was killed continues with them.

    Example:
      ```
      class CountSteps(TrainingHooks):
          def before_step(self, step):
              self.state[0].assign(step)

      fine_tune(graph, forward, variables, batches, options, CountSteps([tf.Variable(0)]))
      ```
    """

    def __init__(self, state: Sequence[tf.Variable] = ()) -> None:
        self.state = tuple(state)

    def before_step(self, step: int) -> None:
        """Called before each step with its number, from 0, and once at the end with the number of steps."""

    def observe(self, gradients: Gradients) -> None:
        """Sees the gradients of a step before they are applied; traced once, as a part of the step."""

    def describe(self) -> str:
        """What a line of progress adds; '' for nothing."""
        return ''
