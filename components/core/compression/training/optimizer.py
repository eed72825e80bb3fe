"""The optimizers that `proto.FineTuning` names, and how their rate falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError

if TYPE_CHECKING:
    import keras

_LAST_SHARE = 0.01  # of the rate, at the last step


def require_tensorflow_backend() -> None:
    """Refuses to train where Keras runs on another backend.

    Raises:
      EdgeError: it does.
    """
    import keras  # takes seconds; only fine-tuning needs it

    if keras.backend.backend() != 'tensorflow':
        raise EdgeError(
            f'Keras runs on {keras.backend.backend()}; fine-tuning needs its TensorFlow backend. '
            'Set KERAS_BACKEND=tensorflow.'
        )


def make_optimizer(
    name: str, rate: float, *, num_steps: int, constant_steps: int
) -> keras.optimizers.Optimizer:
    """An optimizer whose rate is constant, then falls to a hundredth along half a cosine.

    As long as a mask changes, weights have far to go; the last steps settle what is left (Loshchilov and Hutter, 2017,
    arXiv:1608.03983).

    Args:
      name: ADAM, or SGD with momentum 0.9.
      rate: of learning, at the begin.
      num_steps: of the training.
      constant_steps: before the rate falls; `num_steps` and more for a rate that does not.

    Returns:
      A `keras.optimizers.Optimizer`.

    Example:
      >>> make_optimizer('ADAM', 1e-3, num_steps=1000, constant_steps=750).name
      'adam'
    """
    # These take seconds; only fine-tuning needs them.
    import keras

    from tfx_edge.components.core.compression.training.one_pass_adam import OnePassAdam

    falling = num_steps - constant_steps
    schedule: float | keras.optimizers.schedules.LearningRateSchedule = rate
    if falling > 0:
        # A warm-up from the rate to the rate is the constant part.
        schedule = keras.optimizers.schedules.CosineDecay(
            rate, falling, alpha=_LAST_SHARE, warmup_target=rate, warmup_steps=constant_steps
        )
    if name == 'SGD':
        return keras.optimizers.SGD(schedule, momentum=0.9)
    return OnePassAdam(schedule, name='adam')
