"""What steps leave on the shared volume."""

from __future__ import annotations

import pathlib

# The job server keeps there what it hands to workers.
_OF_JOB_SERVER = 'beam-artifacts'


def left_on(shared: pathlib.Path) -> list[str]:
    """The names of what is there beside the job server's own."""
    return sorted(path.name for path in shared.iterdir() if path.name != _OF_JOB_SERVER)
