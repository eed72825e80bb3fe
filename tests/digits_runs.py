"""The digits pipeline, short: as the tests compile it, and as LocalDagRunner runs it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tfx_edge.pipelines.local import BEAM_ARGS

# With few steps the model agrees less with the float one than the limits of the demo ask for.
LIMITS = {'limits': json.dumps({'min_agreement': 0.9})}


FINE_TUNING_STEPS = 400


def built(
    root: str,
    data_root: str,
    serving: str,
    beam_args: Sequence[str] = BEAM_ARGS,
    train_steps: int = 600,
    **arguments: Any,
) -> Any:
    """The pipeline, with few steps of training: enough that it is blessed on every processor."""
    from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline

    return create_pipeline(
        root,
        data_root,
        serving,
        train_steps=train_steps,
        fine_tuning_steps=FINE_TUNING_STEPS,
        beam_pipeline_args=list(beam_args),
        **arguments,
    )


def made_locally(
    data_root: pathlib.Path, beam_args: Sequence[str], folder: pathlib.Path, **arguments: Any
) -> bytes:
    """The file that LocalDagRunner makes; what judges it and takes it away afterwards is left out."""
    from tfx.orchestration.local import local_dag_runner
    from tfx.orchestration.pipeline import RunOptions

    pipeline = built(
        str(folder),
        str(data_root),
        str(folder / 'absent'),
        beam_args,
        metadata_path=str(folder / 'metadata.sqlite'),
        **arguments,
    )
    local_dag_runner.LocalDagRunner().run(pipeline, RunOptions(to_nodes=['TFLiteQuantizer']))
    (made,) = folder.glob('TFLiteQuantizer/model/*/Format-Serving/tflite')
    return made.read_bytes()
