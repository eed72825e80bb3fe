"""The demo on a cluster: the digits pipeline as Kubeflow runs it, to the file that LocalDagRunner makes.

It is a Kubeflow of several users, of whom one has a token for a namespace; where this machine can, the steps' pods are
of users that it does not know, with nothing in common but the group of the shared volume.

Beam runs on a portable runner there, and here in this process and in two of its own: the bytes are the same."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import pathlib
import re
import uuid
from collections.abc import Iterator, Sequence

import pytest
from google.protobuf import json_format

from tests.digits_runs import FINE_TUNING_STEPS, LIMITS, made_locally
from tests.pipelines.kubeflow.cluster import Cluster, Run
from tests.pipelines.kubeflow.kfp_server import serving
from tests.pipelines.kubeflow.live_server import LiveServer
from tests.pipelines.kubeflow.object_store import ObjectStore, object_store
from tests.pipelines.kubeflow.pod_user import PodUser, why_not
from tfx_edge import proto
from tfx_edge.pipelines.cli import main
from tfx_edge.pipelines.demo import all_beam_args
from tfx_edge.pipelines.digits.pipeline import QUANTIZATION

pytestmark = pytest.mark.e2e

TWO_PROCESSES = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')
# Whatever a credential is used for, it is nowhere to be read.
CANARY = 'canary-0f6c1e'
TOKEN = 'eyJ0b2tlbg.canary-7d1b52'
# Of the range that OpenShift gives to a namespace, and of another, as after its namespace was made anew.
USERS = {'': PodUser(1000660000, groups=(2000,)), 'EdgeEvaluator': PodUser(1000770000, groups=(2000,))}
SECRETS = ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


def test_demo_on_a_cluster_pushes_the_file_that_local_dag_runner_makes(
    store: ObjectStore,
    portable_runner: Sequence[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Data, artifacts and pushed models are at the object store. Beam's workers are processes apart, which see nothing
    of a pod but the shared volume."""
    for variable in SECRETS:
        # As in the shell of whoever compiles.
        monkeypatch.setenv(variable, CANARY)
    monkeypatch.setenv('AWS_ENDPOINT_URL', store.endpoint)
    store.put('s3://mlpipeline/other', b'')
    shared = tmp_path / 'shared'
    shared.mkdir()
    users = {} if why_not() else USERS
    if users:
        # As Kubernetes makes it for an fsGroup.
        os.chown(shared, 0, 2000)
        shared.chmod(0o2775)
    # All servers of a process share what they hold.
    namespace = f'me-{uuid.uuid4()}'
    place = f'private-artifacts/{namespace}/tfx-edge-demo'
    token = tmp_path / 'token'
    token.write_text(TOKEN)
    cluster = Cluster(
        store,
        tmp_path / 'cluster',
        claims={'shared': shared},
        secrets={'store': dict.fromkeys(SECRETS, CANARY)},
        users=users,
    )
    micro = ['tflite_micro'] if importlib.util.find_spec('tflite_micro') else []
    quantization = proto.Quantization(for_micro=bool(micro))
    quantization.MergeFrom(QUANTIZATION)
    parameters = [
        f'--parameter=fine_tuning={{"num_steps": {FINE_TUNING_STEPS}}}',
        f'--parameter=quantization={json_format.MessageToJson(quantization, indent=None)}',
    ]
    output = tmp_path / 'demo'
    with serving(LiveServer(cluster, loses=9)) as server:
        server.profiles = {namespace: TOKEN, 'another': 'of another'}
        access = ['--namespace', namespace, '--token-file', str(token)]
        # The image itself is at the workers already, so that nothing is to be installed there.
        beam = [f'--beam-arg={argument}' for argument in (*portable_runner, '--sdk_container_image=image')]
        pods = ['--shared-volume=shared', f'--env=AWS_ENDPOINT_URL={store.endpoint}']
        pods += ['--env=AWS_DEFAULT_REGION=us-east-1']
        pods += [f'--secret-env={variable}=store:{variable}' for variable in SECRETS]
        limits = f'--parameter=limits={LIMITS["limits"]}'
        demo = ['demo', '--on-kubeflow', server.host, f'--output={output}', *access]
        status = main([*demo, '--image=image', *parameters, limits, *pods, *beam])
        printed = capfd.readouterr().out
        assert status == 0, printed
        (run_id,) = re.findall(r'run (\S+) of pipeline', printed)
        run = server.run_of(run_id)

        assert main([*demo, '--run', run_id]) == 0
        taken_up = capfd.readouterr().out
        wrong = '--parameter=limits={"min_agrement": 0.9}'
        again = ['submit', str(output / 'digits.yaml'), '--host', server.host, '--wait', *access]
        assert main([*again, *parameters, wrong]) == 1
        refused = capfd.readouterr().out
    assert taken_up.splitlines()[-3:] == printed.splitlines()[-3:]
    assert 'no answer from' in printed
    assert re.search(r'\d  QATTrainer: finished in \d+ s', printed)
    # As the log of the step has it, and as the report says that was fetched.
    assert printed.count('verdict: BLESSED') == 2
    assert re.search(r'int8, shipped +9\d\.\d\d%', printed)
    serving_uri = f'minio://mlpipeline/{place}/serving'
    assert re.findall(rf'pushed: ({serving_uri}/\d+\S*)', printed)
    # What looks at the data is never cached.
    steps = [
        task for task in run.executed if task not in ('EdgeEvaluator', 'Pusher', 'ImportExampleGen-data')
    ]
    assert all(f'{step}: cached' in refused for step in steps)
    assert re.search(r'tfx-edge: .*min_agrement', refused)
    assert run.executed[-2:] == ['EdgeEvaluator', 'Pusher']
    assert not run.cached

    assert not any(path.is_file() for path in shared.rglob('*'))
    assert not list((shared / 'training-state').iterdir())
    assert not [uri for uri in _uris(run) if not uri.startswith(f'minio://mlpipeline/{place}/artifacts/')]
    evaluation, page = (
        run.artifacts['EdgeEvaluator', key]['uri'] for key in ('edge_evaluation', 'edge_evaluation_page')
    )
    # The dashboard shows a page that is an artifact of its own.
    assert store.read(page) == store.read(f'{evaluation}/report.html')

    assert CANARY not in printed + refused
    assert TOKEN not in printed + refused
    for file in output.rglob('*'):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file
    assert CANARY not in json.dumps(list(run.artifacts.values()))
    contents = {key: unpacked(body) for key, body in store.everything('mlpipeline') if key.startswith(place)}
    assert any(key.endswith('executor-logs') for key in contents)
    assert [key for key, body in contents.items() if CANARY.encode() in body or TOKEN.encode() in body] == []

    model = f'{run.artifacts["TFLiteQuantizer", "model"]["uri"]}/Format-Serving'
    pushed = {
        pathlib.PurePath(key).name: store.read(f'{serving_uri}/{key}') for key in store.keys(serving_uri)
    }
    assert pushed == {name: store.read(f'{model}/{name}') for name in ('tflite', *micro)}
    file = pushed['tflite']
    for name, beam_args in (
        ('one_process', all_beam_args()),
        ('two_processes', all_beam_args(TWO_PROCESSES)),
    ):
        assert made_locally(output / 'data', beam_args, tmp_path / name, train_steps=1200) == file


def _uris(run: Run) -> list[str]:
    return [artifact['uri'] for artifact in run.artifacts.values()]


def unpacked(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b'\x1f\x8b') else body
