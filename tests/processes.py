"""The processes that a test starts, and what /proc says about them."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterable

_PROC = pathlib.Path('/proc')
# Before a command: it is process 1 of a namespace, as in a container, and ends with the process that started it.
AS_FIRST = ('unshare', '--pid', '--fork', '--kill-child', '--mount-proc')


def can_be_first() -> bool:
    """Whether this machine lets a test make namespaces."""
    return shutil.which('unshare') is not None and not subprocess.run([*AS_FIRST, 'true']).returncode


def below(parent: int) -> list[int]:
    """All processes that a process has started, and theirs; without those that have ended."""
    parents = {}
    for entry in _PROC.iterdir():
        fields = _fields(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            parents[int(entry.name)] = int(fields[1])
    found = [pid for pid, above in parents.items() if above == parent]
    return found + [child for pid in found for child in below(pid)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    return _fields(pid) is not None


def wait_for_end(pids: Iterable[int], seconds: float) -> None:
    """Raises AssertionError where one of these still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    left = list(pids)
    while left := [pid for pid in left if is_alive(pid)]:
        assert time.monotonic() < deadline, f'these outlive it: {", ".join(map(command, left))}'
        time.sleep(0.05)


def command(pid: int) -> str:
    """What a process was started with."""
    return (_PROC / str(pid) / 'cmdline').read_bytes().decode(errors='replace')


def _fields(pid: int) -> list[str] | None:
    """State, parent and so on of a process that runs."""
    try:
        fields = (_PROC / str(pid) / 'stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == 'Z' else fields
