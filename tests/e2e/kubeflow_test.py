"""The compiled digits pipeline as Kubeflow runs it, with an object store, to the file that LocalDagRunner makes."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.pipelines.kubeflow.cluster import Cluster, StepFailed
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge.pipelines.digits import data
from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions
from tfx_edge.pipelines.local import BEAM_ARGS, run_locally
from tfx_edge.pipelines.quiet import quiet

pytestmark = pytest.mark.e2e

# With few steps the model agrees less with the float one than the limits of the demo ask for.
LIMITS = {'limits': json.dumps({'min_agreement': 0.9})}


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


def built(
    folder: pathlib.Path, root: str, serving: str, beam_args: Sequence[str] = BEAM_ARGS, **arguments: Any
) -> Any:
    return create_pipeline(
        root,
        str(folder / 'data'),
        str(folder / serving),
        train_steps=600,
        fine_tuning_steps=200,
        beam_pipeline_args=list(beam_args),
        **arguments,
    )


def pushed_files(serving: pathlib.Path) -> list[bytes]:
    return [file.read_bytes() for file in serving.glob('*/tflite')]


def test_compiled_pipeline_pushes_the_file_that_local_dag_runner_makes(
    store: ObjectStore, portable_runner: Sequence[str], tmp_path: pathlib.Path
) -> None:
    """On the cluster Beam's workers are processes apart, which see nothing of a pod but the shared volume."""
    data.write_examples(tmp_path / 'data')
    root = f'minio://{new_bucket()}/v2/artifacts'
    # The image itself is at the workers already, so that nothing is to be installed there.
    pipeline = built(tmp_path, root, 'serving', [*portable_runner, '--sdk_container_image=image'])
    job = compile_pipeline(pipeline, 'image', 'kfp', PodOptions(shared_volume='shared'))
    shared = tmp_path / 'shared'
    shared.mkdir()
    cluster = Cluster(store, tmp_path / 'cluster', claims={'shared': shared})

    with pytest.raises(StepFailed) as failure:
        cluster.run(as_text(job, 'kfp'), {'limits': '{"min_agrement": 0.9}'})
    assert failure.value.task == 'EdgeEvaluator'
    assert 'min_agrement' in failure.value.last_line
    before = failure.value.run.executed
    assert before[-1] == 'TFLiteQuantizer'
    assert not pushed_files(tmp_path / 'serving')

    run = cluster.run(as_text(job, 'kfp'), LIMITS)
    assert run.cached == before
    assert run.executed == ['EdgeEvaluator', 'Pusher']
    assert run.artifacts['EdgeEvaluator', 'blessing']['metadata']['blessed'] == 1
    assert run.artifacts['Pusher', 'pushed_model']['metadata']['pushed'] == 1
    assert not list(shared.iterdir())
    evaluation, page = (
        run.artifacts['EdgeEvaluator', key]['uri'] for key in ('edge_evaluation', 'edge_evaluation_page')
    )
    assert json.loads(store.read(f'{evaluation}/report.json'))['verdict'] == 'BLESSED'
    # The dashboard shows a page that is an artifact of its own.
    assert store.read(page) == store.read(f'{evaluation}/report.html')

    local = built(
        tmp_path, str(tmp_path / 'local'), 'absent', metadata_path=str(tmp_path / 'metadata.sqlite')
    )
    with quiet(tmp_path / 'log.txt') as progress:
        run_locally(local, progress)
    (made,) = (tmp_path / 'local').glob('TFLiteQuantizer/model/*/Format-Serving/tflite')
    assert pushed_files(tmp_path / 'serving') == [made.read_bytes()]
    stored = store.read(f'{run.artifacts["TFLiteQuantizer", "model"]["uri"]}/Format-Serving/tflite')
    assert stored == made.read_bytes()
