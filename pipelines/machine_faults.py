"""Which errors of a step say nothing of what it was given, so that a run does not go on after them."""

from __future__ import annotations

import re

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import find_exhausted
from tfx_edge.pipelines.failure import causes

# Beam and TensorFlow make an error of their own of a signal that comes while they run a function of a step.
_SIGNAL = re.compile(r'\b(KeyboardInterrupt|_Terminated)\b')


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says nothing of what a step was given; it is told by what `one_line` reports.

    Args:
      error: of a step.

    Returns:
      Whether memory or a disk is full, a process was killed, ML Metadata cannot be reached, or the run was told to end.

    Example:
      >>> is_of_the_machine(MemoryError()), is_of_the_machine(KeyError('image'))
      (True, False)
    """
    if any(isinstance(cause, KeyboardInterrupt) or _SIGNAL.search(str(cause)) for cause in causes(error)):
        return True
    for cause in causes(error):
        if isinstance(cause, EdgeError | EnvironmentFailure):
            return isinstance(cause, EnvironmentFailure)
    import ml_metadata  # takes seconds

    # Without ML Metadata no step finds its inputs.
    is_of_records = isinstance(error, ml_metadata.errors.StatusError)
    return is_of_records or find_exhausted(f'{type(error).__name__}: {error}') is not None
