"""Lines for a pod's log, also when what hands them on has ended."""

from __future__ import annotations

import contextlib
import sys

# Kubeflow's launcher reads what a step writes. It ends at once when a run is terminated, the step a moment later.
_PROCESS_1 = '/proc/1/fd/2'


def log(line: str) -> None:
    """Writes a line to stderr or, if nobody reads that any more, to the stderr of the container's process 1.

    Args:
      line: without an end of line.

    Example:
      >>> log('tfx-edge: cancelling job 7')
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except (BrokenPipeError, RuntimeError):
        # Nobody reads; or a signal came in the middle of a line, which Python does not let another one into.
        # The same user's in a container; elsewhere the line has no reader at all.
        with contextlib.suppress(OSError), open(_PROCESS_1, 'w', encoding='utf-8') as file:
            file.write(f'{line}\n')
