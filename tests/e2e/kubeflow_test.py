"""The compiled digits pipeline as Kubeflow runs it, with an object store, to the file that LocalDagRunner makes.

Beam runs on a portable runner there, and here in this process and in two of its own: the bytes are the same."""

from __future__ import annotations

import gzip
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Sequence

import pytest
from google.protobuf import json_format

from tests.digits_runs import LIMITS, built, made_locally
from tests.pipelines.kubeflow.cluster import Cluster, StepFailed
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge import proto
from tfx_edge.pipelines.demo import all_beam_args
from tfx_edge.pipelines.digits import data
from tfx_edge.pipelines.digits.pipeline import QUANTIZATION
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions

pytestmark = pytest.mark.e2e

TWO_PROCESSES = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')
# Whatever a credential is used for, it is nowhere to be read.
CANARY = 'canary-0f6c1e'
SECRETS = ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


def test_compiled_pipeline_pushes_the_file_that_local_dag_runner_makes(
    store: ObjectStore,
    portable_runner: Sequence[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data, artifacts and pushed models are at the object store. Beam's workers are processes apart, which see nothing
    of a pod but the shared volume."""
    for variable in SECRETS:
        # As in the shell of whoever compiles.
        monkeypatch.setenv(variable, CANARY)
    data.write_examples(tmp_path / 'data')
    bucket = new_bucket()
    store.upload(tmp_path / 'data', f's3://{bucket}/data')
    serving = f's3://{bucket}/serving'
    pipeline = built(
        f'minio://{bucket}/v2/artifacts',
        f's3://{bucket}/data',
        serving,
        # The image itself is at the workers already, so that nothing is to be installed there.
        [*portable_runner, '--sdk_container_image=image'],
    )
    pods = PodOptions(
        shared_volume='shared',
        variables=(f'AWS_ENDPOINT_URL={store.endpoint}', 'AWS_DEFAULT_REGION=us-east-1'),
        secret_variables=tuple(f'{variable}=store:{variable}' for variable in SECRETS),
    )
    text = as_text(compile_pipeline(pipeline, 'image', 'kfp', pods), 'kfp')
    shared = tmp_path / 'shared'
    shared.mkdir()
    cluster = Cluster(
        store,
        tmp_path / 'cluster',
        claims={'shared': shared},
        secrets={'store': dict.fromkeys(SECRETS, CANARY)},
    )

    micro = ['tflite_micro'] if importlib.util.find_spec('tflite_micro') else []
    asked = proto.Quantization(for_micro=bool(micro))
    asked.MergeFrom(QUANTIZATION)
    quantization = {'quantization': json_format.MessageToJson(asked)}
    with pytest.raises(StepFailed) as failure:
        cluster.run(text, {'limits': '{"min_agrement": 0.9}', **quantization})
    assert failure.value.task == 'EdgeEvaluator'
    assert 'min_agrement' in failure.value.last_line
    before = failure.value.run.executed
    assert before[-1] == 'TFLiteQuantizer'
    assert not store.keys(serving)

    run = cluster.run(text, {**LIMITS, **quantization})
    # What looks at the data is never cached.
    assert run.cached == [step for step in before if step != 'ImportExampleGen-data']
    assert run.executed == ['ImportExampleGen-data', 'EdgeEvaluator', 'Pusher']
    assert run.artifacts['EdgeEvaluator', 'blessing']['metadata']['blessed'] == 1
    assert run.artifacts['Pusher', 'pushed_model']['metadata']['pushed'] == 1
    assert not list(shared.iterdir())
    evaluation, page = (
        run.artifacts['EdgeEvaluator', key]['uri'] for key in ('edge_evaluation', 'edge_evaluation_page')
    )
    assert json.loads(store.read(f'{evaluation}/report.json'))['verdict'] == 'BLESSED'
    # The dashboard shows a page that is an artifact of its own.
    assert store.read(page) == store.read(f'{evaluation}/report.html')

    assert CANARY not in text
    assert CANARY not in failure.value.log
    assert CANARY not in json.dumps(list(run.artifacts.values()))
    contents = {key: unpacked(body) for key, body in store.everything(bucket)}
    assert any(key.endswith('executor-logs') for key in contents)
    assert [key for key, body in contents.items() if CANARY.encode() in body] == []

    model = f'{run.artifacts["TFLiteQuantizer", "model"]["uri"]}/Format-Serving'
    pushed = {pathlib.PurePath(key).name: store.read(f'{serving}/{key}') for key in store.keys(serving)}
    assert pushed == {name: store.read(f'{model}/{name}') for name in ('tflite', *micro)}
    file = pushed['tflite']
    for name, beam_args in (
        ('one_process', all_beam_args()),
        ('two_processes', all_beam_args(TWO_PROCESSES)),
    ):
        assert made_locally(tmp_path / 'data', beam_args, tmp_path / name) == file


def unpacked(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b'\x1f\x8b') else body
