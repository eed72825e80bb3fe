"""The compiled digits pipeline, step by step as Kubeflow runs it, to the file that LocalDagRunner makes."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import yaml

from tests.pipelines.kubeflow.launcher import Launcher, tasks_in_order
from tfx_edge.pipelines.digits import data
from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.local import BEAM_ARGS, run_locally
from tfx_edge.pipelines.quiet import quiet

pytestmark = pytest.mark.e2e

ROOT = 'minio://mlpipeline/v2/artifacts'


def built(folder: pathlib.Path, root: str, serving: str, **arguments: Any) -> Any:
    return create_pipeline(
        root,
        str(folder / 'data'),
        str(folder / serving),
        train_steps=600,
        fine_tuning_steps=200,
        beam_pipeline_args=list(BEAM_ARGS),
        **arguments,
    )


def pushed_file(serving: pathlib.Path) -> bytes:
    (file,) = serving.glob('*/tflite')
    return file.read_bytes()


def test_compiled_pipeline_pushes_the_file_that_local_dag_runner_makes(tmp_path: pathlib.Path) -> None:
    data.write_examples(tmp_path / 'data')
    # With few steps the model agrees less with the float one than the limits of the demo ask for.
    limits = json.dumps({'min_agreement': 0.9})
    text = as_text(compile_pipeline(built(tmp_path, ROOT, 'serving'), 'image', 'kfp'), 'kfp')
    cluster = Launcher(yaml.safe_load(text), tmp_path / 'cluster', {'limits': limits})
    for task in tasks_in_order(cluster.spec):
        cluster.run(task)
    assert cluster.artifacts['EdgeEvaluator', 'blessing']['metadata']['blessed'] == 1
    assert cluster.artifacts['Pusher', 'pushed_model']['metadata']['pushed'] == 1
    report = json.loads((cluster.stored('EdgeEvaluator', 'edge_evaluation') / 'report.json').read_text())
    assert report['verdict'] == 'BLESSED'

    local = built(
        tmp_path, str(tmp_path / 'local'), 'absent', metadata_path=str(tmp_path / 'metadata.sqlite')
    )
    with quiet(tmp_path / 'log.txt') as progress:
        run_locally(local, progress)
    (made,) = (tmp_path / 'local').glob('TFLiteQuantizer/model/*/Format-Serving/tflite')
    assert pushed_file(tmp_path / 'serving') == made.read_bytes()
