"""What steps leave on the shared volume."""

from __future__ import annotations

import pathlib

from tfx_edge.pipelines.kubeflow import training_state

# The job server keeps there what it hands to workers.
_OF_JOB_SERVER = 'beam-artifacts'


def left_on(shared: pathlib.Path) -> list[str]:
    """The names of what is there beside the folder of the job server, and in that of the trainings' states."""
    states = shared / training_state.FOLDER
    paths = [path for path in shared.iterdir() if path.name != _OF_JOB_SERVER and path != states]
    return sorted(path.name for path in (*paths, *(states.iterdir() if states.exists() else ())))
