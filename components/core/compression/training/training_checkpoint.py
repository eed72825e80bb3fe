"""The state of a training loop on disk, so that a run that was killed continues where it was."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfx_edge.components.core.saved_variables import FAULTS, why_unreadable

_LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class TrainingCheckpoint:
    """Saves variables and the number of steps done; restores them exactly.

    A run that is killed at any moment leaves the last state that was saved whole. State that is damaged, by a full disk
    or a power failure, is removed with a warning, and the training starts from the beginning.

    Args:
      folder: where the state is kept; it belongs to one model, configuration and set of examples. '' keeps none.
      variables: all that the loop changes, in a fixed order; one may be there twice.
      saved: called after each state that was saved.

    Example:
      >>> checkpoint = TrainingCheckpoint('/pipeline/Pruner/model/.unfinished/5f0c', [weight, momentum])
      >>> for step in range(checkpoint.restore(), 1000):
      ...   train()
      ...   checkpoint.step_done(step + 1)
    """

    def __init__(
        self, folder: str, variables: Sequence[tf.Variable], saved: Callable[[], None] | None = None
    ) -> None:
        self._tell_saved = saved
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        # A checkpoint holds a variable once, whatever the number of its names.
        once = {id(variable): variable for variable in variables}.values()
        kept = {f'variable_{index}': variable for index, variable in enumerate(once)}
        if folder:
            _remove_if_damaged(folder, {'steps': self._steps, **kept})
        checkpoint = tf.train.Checkpoint(steps=self._steps, **kept)
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1) if folder else None
        self._saved = time.monotonic()

    def restore(self) -> int:
        """Restores the last state; returns how many steps it had done, 0 when there is none."""
        if self._manager is None or not self._manager.latest_checkpoint:
            return 0
        self._manager.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        _LOG.info('continuing after step %d, from %s', int(self._steps), self._manager.latest_checkpoint)
        return int(self._steps)

    def step_done(self, steps: int) -> None:
        """Saves the state if the last time is long enough ago.

        Args:
          steps: number of steps done.
        """
        if self._manager is None or time.monotonic() - self._saved < SECONDS_BETWEEN_CHECKPOINTS:
            return
        self._steps.assign(steps)
        self._manager.save()
        if self._tell_saved is not None:
            self._tell_saved()
        self._saved = time.monotonic()


def _remove_if_damaged(folder: str, expected: Mapping[str, tf.Variable]) -> None:
    fault = _fault(folder, expected)
    if fault:
        _LOG.warning(
            'the training state of an earlier run in %s cannot be used (%s); it is removed, and the training starts '
            'from the beginning',
            folder,
            fault,
        )
        tf.io.gfile.rmtree(folder)


def _fault(folder: str, expected: Mapping[str, tf.Variable]) -> str:
    """Why the last state cannot be restored; '' where it can, or there is none."""
    if not tf.io.gfile.exists(os.path.join(folder, 'checkpoint')):
        return ''
    try:
        state = tf.train.get_checkpoint_state(folder)
    except FAULTS as error:
        return f'its list of checkpoints is damaged: {type(error).__name__}'
    if state is None:
        return 'its list of checkpoints is damaged'
    prefix = state.model_checkpoint_path
    if fault := why_unreadable(prefix):
        return fault
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    for name, variable in expected.items():
        if shapes.get(f'{name}/.ATTRIBUTES/VARIABLE_VALUE') != variable.shape.as_list():
            return f'{prefix} is of another training: {name} differs'
    return ''
