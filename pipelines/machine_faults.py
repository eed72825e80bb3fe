"""Which errors of a step are the machine's, so that other steps would fail as well."""

from __future__ import annotations

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import find_exhausted
from tfx_edge.pipelines.failure import causes


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says nothing of what a step was given; it is told by what `one_line` reports.

    Args:
      error: of a step.

    Returns:
      Whether memory or a disk is full, a process was killed, or ML Metadata cannot be reached.

    Example:
      >>> is_of_the_machine(MemoryError()), is_of_the_machine(KeyError('image'))
      (True, False)
    """
    for cause in causes(error):
        if isinstance(cause, EdgeError | EnvironmentFailure):
            return isinstance(cause, EnvironmentFailure)
    import ml_metadata  # takes seconds

    # Without ML Metadata no step finds its inputs.
    is_of_records = isinstance(error, ml_metadata.errors.StatusError)
    return is_of_records or find_exhausted(f'{type(error).__name__}: {error}') is not None
