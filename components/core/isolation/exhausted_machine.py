"""What libraries report when memory, a disk or a limit of the system is used up, and what helps."""

from __future__ import annotations

import re
import tempfile

OUT_OF_MEMORY = 'the system ends processes that take too much memory: give it more, or use a smaller model.'

_DISK = re.compile(r'No space left on device|Disk quota exceeded|No usable temporary directory found')
_MEMORY = re.compile(r'Cannot allocate memory|std::bad_alloc|\bMemoryError\b|Unable to allocate \d')
_FILES = re.compile(r'Too many open files')


def remedy_if_exhausted(reported: str) -> str:
    """What helps where a machine had not enough of something; '' for any other fault.

    Args:
      reported: what an error says, or what a process printed before it died.

    Example:
      >>> remedy_if_exhausted('OSError: [Errno 24] Too many open files: model')
      'allow the process more open files (ulimit -n), and run the step again.'
    """
    if _DISK.search(reported):
        return f'free space on the disk of {_temporary_folder()} and of the outputs, and run the step again.'
    if _MEMORY.search(reported):
        return 'give the step more memory, or use a smaller model.'
    if _FILES.search(reported):
        return 'allow the process more open files (ulimit -n), and run the step again.'
    return ''


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the places takes a file
        return 'the temporary files (TMPDIR)'
