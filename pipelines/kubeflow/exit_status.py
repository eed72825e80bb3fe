"""How a container of a compiled pipeline ends: one line that reports what happened, and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType

from tfx_edge.pipelines.failure import one_line
from tfx_edge.pipelines.kubeflow.log_line import log

# The status that a shell reports for a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


class Terminated(BaseException):
    """The process was sent a signal to end; no `except Exception` of a library takes it for a fault."""


def exit_status(name: str, body: Callable[[], None]) -> int:
    """Does a container's work, and reports on stderr what went wrong.

    SIGTERM (a run that is terminated, a pod that is moved) ends the work at once, and what it holds is cleaned up.
    Without a handler, process 1 of a container ignores the signal.

    Args:
      name: of the work, for the line.
      body: the work.

    Returns:
      0; 1 if it failed, and 143 if it was terminated. The last line on stderr then begins with 'tfx-edge:'.

    Example:
      >>> exit_status('the step', lambda: None)
      0
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _raise_terminated) if in_main_thread else None
    try:
        body()
    except Terminated:
        log(f'tfx-edge: {name} was terminated')
        return TERMINATED
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the log ends with one line
        log(traceback.format_exc().rstrip())
        log(f'tfx-edge: {name} failed: {one_line(error)}')
        return 1
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    return 0


def end_process(status: int) -> None:
    """Ends the process; after SIGTERM without waiting for threads of libraries, which may never end."""
    if status == TERMINATED:
        os._exit(status)
    sys.exit(status)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    # A second SIGTERM must not interrupt the cleaning up.
    signal.signal(number, signal.SIG_IGN)
    # Logged now: a container that is terminated may have no time for a last line.
    log('tfx-edge: terminating; what runs for this step is cancelled, and what it wrote is removed')
    raise Terminated
