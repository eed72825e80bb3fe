"""Finds the processes that a step of the campaign has started, and theirs, by a mark in their environment."""

from __future__ import annotations

import pathlib

MARK = 'TFX_EDGE_SOAK'
# First of a line in the log of a step that failed: what tfx-edge prints.
FAILED = 'step failed: '


def marked(mark: str) -> list[int]:
    """The processes that were started with this mark and still run; not the step's own, which was forked."""
    wanted, found = f'{MARK}={mark}'.encode(), []
    for entry in pathlib.Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / 'environ').read_bytes().split(b'\0')
                ended = (entry / 'stat').read_text().rpartition(')')[2].split()[0] == 'Z'
            except OSError:
                continue
            if wanted in variables and not ended:
                found.append(int(entry.name))
    return sorted(found)


def command(pid: int) -> str:
    """What a process was started with; '' of one that has ended."""
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
    except OSError:
        return ''
