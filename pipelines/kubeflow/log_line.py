"""Writes lines to a pod's log, even after Kubeflow's launcher, which passes them on, has ended."""

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
        # The reader has ended; or a signal came during a write, into which Python refuses to write again.
        # In a container process 1 has the same user; elsewhere its stderr may not be writable, and the line is lost.
        with contextlib.suppress(OSError), open(_PROCESS_1, 'w', encoding='utf-8') as file:
            file.write(f'{line}\n')
