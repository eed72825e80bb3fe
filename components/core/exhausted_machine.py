"""What libraries report when memory, a disk or a limit of the system is used up, and what helps."""

from __future__ import annotations

import re
import signal
import tempfile
from typing import NamedTuple

from tfx_edge.components.core.errors import EnvironmentFailure

OUT_OF_MEMORY = 'the system ends processes that take too much memory: give it more, or use a smaller model.'

# Signals that others send; a fault of native code raises others.
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_DISK = re.compile(r'No space left on device|Disk quota exceeded|No usable temporary directory found')
_MEMORY = re.compile(
    r'Cannot allocate memory|std::bad_alloc|\bMemoryError\b|Unable to allocate \d|OOM when allocating|'
    r'failed to allocate memory'
)
_FILES = re.compile(r'Too many open files')


class Exhausted(NamedTuple):
    """What a machine had not enough of.

    Attributes:
      sign: the words that report it.
      remedy: what helps, as the end of a sentence.
    """

    sign: str
    remedy: str


def find_exhausted(reported: str) -> Exhausted | None:
    """What was used up; None for any other fault.

    Args:
      reported: what an error says, or what a process printed before it died.

    Example:
      >>> find_exhausted('OSError: [Errno 24] Too many open files: model').remedy
      'allow the process more open files (ulimit -n), and run the step again.'
    """
    if sign := _DISK.search(reported):
        place = _temporary_folder()
        return Exhausted(
            sign[0], f'free space on the disk of {place} and of the outputs, and run the step again.'
        )
    if sign := _MEMORY.search(reported):
        return Exhausted(sign[0], 'give the step more memory, or use a smaller model.')
    if sign := _FILES.search(reported):
        return Exhausted(sign[0], 'allow the process more open files (ulimit -n), and run the step again.')
    return None


def remedy_of_machine(status: int, printed: str) -> str:
    """What helps where the machine, and not what ran in it, ended a process; '' where that is not so.

    Args:
      status: its exit status, or minus the number of the signal that ended it.
      printed: what it printed.

    Example:
      >>> remedy_of_machine(-9, 'loading')
      'the system ends processes that take too much memory: give it more, or use a smaller model.'
    """
    if -status in _SENT:
        return OUT_OF_MEMORY if status == -signal.SIGKILL else 'run the step again.'
    exhausted = find_exhausted(printed) if status else None
    return exhausted.remedy if exhausted else ''


def require_machine(error: BaseException) -> None:
    """Raises what the machine had not enough of, where that is what an error reports.

    Args:
      error: what somebody else's code raised, before that code is blamed.

    Raises:
      EnvironmentFailure: memory, a disk or open files are used up.

    Example:
      >>> require_machine(KeyError('age'))
    """
    exhausted = find_exhausted(f'{type(error).__name__}: {error}')
    if exhausted is not None:
        raise EnvironmentFailure(f'{exhausted.sign}; {exhausted.remedy}') from error


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the places takes a file
        return 'the temporary files (TMPDIR)'
