"""A limit to the time that a step of a pipeline takes, for steps that hang for a reason that nothing else notices.

`TFX_EDGE_STEP_SECONDS` sets it; without it a step may take as long as it likes. A step that reaches it fails as by any
other fault: what it had half written is removed. One that does not end within a minute after that, as when native code
hangs, is ended with its process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

_LOG = logging.getLogger(__name__)

STEP_SECONDS = 'TFX_EDGE_STEP_SECONDS'
# For a step that fails to remove what it made.
_SECONDS_TO_FAIL = 60.0
# Later still, where native code lets no thread of Python's run.
_SECONDS_TO_END = 10.0


class _TimeIsUp(BaseException):
    """Raised in the main thread; a BaseException, so that no `except Exception` of a library catches it."""


@contextlib.contextmanager
def limited_step_time() -> Iterator[None]:
    """Ends the `with` block, or the function that it decorates, with an error after `TFX_EDGE_STEP_SECONDS`.

    Does nothing where the variable is not set, or outside of the main thread, where Python takes no signals.

    Raises:
      EdgeError: the variable is no number of seconds above 0.
      EnvironmentFailure: the time is up.

    Example:
      >>> with limited_step_time():
      ...   print('trained')
      trained
    """
    seconds = _seconds()
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    ending = threading.Timer(seconds + _SECONDS_TO_FAIL, _end, [seconds])
    ending.daemon = True
    ending.start()
    faulthandler.dump_traceback_later(seconds + _SECONDS_TO_FAIL + _SECONDS_TO_END, exit=True, file=2)
    try:
        yield
    except _TimeIsUp:
        raise EnvironmentFailure(
            f'the step did not end within {seconds:g} s; find out from its log what it was doing, or set '
            f'{STEP_SECONDS} to let it take longer, and run it again.'
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        ending.cancel()
        faulthandler.cancel_dump_traceback_later()


def _seconds() -> float | None:
    given = os.environ.get(STEP_SECONDS, '')
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise EdgeError(f'{STEP_SECONDS} is {given!r}; expected a number of seconds above 0.')
    return seconds


def _raise(number: int, frame: FrameType | None) -> None:
    raise _TimeIsUp


def _end(seconds: float) -> None:
    _LOG.critical(
        'the step did not end within %g s, nor %g s after it was stopped: its process is ended, and can be run again; '
        '%s is the limit',
        seconds,
        _SECONDS_TO_FAIL,
        STEP_SECONDS,
    )
    faulthandler.dump_traceback(file=2)
    os._exit(1)
