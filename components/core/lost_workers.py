"""Ends a run when a worker process of Beam's on this machine is killed; Beam alone would wait for ever."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tfx_edge.components.core.errors import EnvironmentFailure

# What Beam's `SubprocessSdkWorker` raises in a thread of its own. A shell is between: 128 and the signal's number.
_EXITED = re.compile(r'Worker subprocess exited with return code (-?\d+)')
_WORKER_MODULE = b'apache_beam.runners.worker.sdk_worker_main'


class _WorkerDied(BaseException):
    """Raised in the main thread; a BaseException, so that no `except Exception` of a library catches it."""


@contextlib.contextmanager
def lost_workers_raised() -> Iterator[None]:
    """Ends the `with` block with an error when a signal ends a worker process of Beam's (`multi_processing`).

    Does nothing outside of the main thread, where Python takes no signals. Of nested blocks the innermost ends.

    Raises:
      EnvironmentFailure: a worker was killed, or crashed.

    Example:
      >>> with lost_workers_raised():
      ...   run_pipeline()
    """
    main = threading.main_thread()
    if threading.current_thread() is not main or main.ident is None:
        yield
        return
    to_main, ended_by = main.ident, list[int]()
    before_hook, before_handler = threading.excepthook, signal.signal(signal.SIGUSR2, _raise)
    lock = threading.Lock()

    def see(error: threading.ExceptHookArgs) -> None:
        before_hook(error)
        found = _EXITED.match(str(error.exc_value))
        number = _signal(int(found[1])) if found else 0
        with lock:
            if number and not ended_by and threading.excepthook is see:
                ended_by.append(number)
                # Beam waits for the other workers, which wait for data of the lost one.
                _kill_workers()
                signal.pthread_kill(to_main, signal.SIGUSR2)

    threading.excepthook = see
    try:
        yield
    except _WorkerDied:
        raise EnvironmentFailure(_line(ended_by[0])) from None
    finally:
        with lock:
            threading.excepthook = before_hook
        signal.signal(signal.SIGUSR2, before_handler)


def _kill_workers() -> None:
    parents: dict[int, int] = {}
    for entry in pathlib.Path('/proc').iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / 'stat').read_text().rpartition(')')[2].split()[1])
    for process in parents:
        with contextlib.suppress(OSError):
            command = pathlib.Path(f'/proc/{process}/cmdline').read_bytes()
            if _WORKER_MODULE in command and _is_below(process, os.getpid(), parents):
                os.kill(process, signal.SIGKILL)


def _is_below(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    while process in parents:
        process = parents[process]
        if process == ancestor:
            return True
    return False


def _signal(status: int) -> int:
    return -status if status < 0 else max(0, status - 128)


def _line(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'
    if number == signal.SIGKILL:
        cause = (
            'most likely because the memory was full; give the step or the machine more, or take fewer with '
            '--direct_num_workers, and run again.'
        )
    else:
        cause = (
            'such as a crash in native code, of which the log has the last lines; correct it and run again.'
        )
    return f"one of Beam's worker processes was ended by {name}, {cause}"


def _raise(number: int, frame: FrameType | None) -> None:
    raise _WorkerDied
