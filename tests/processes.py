"""The processes that a test has started, read from /proc."""

from __future__ import annotations

import pathlib

_PROC = pathlib.Path('/proc')


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
