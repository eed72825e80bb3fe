"""The state of a training outlives its pod: the next pod of the same step goes on, and no other step sees it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import s3fs
import yaml
from tfx import v1 as tfx

from tests.pipelines.kubeflow.launcher import Launcher
from tests.pipelines.kubeflow.object_store import ObjectStore, new_bucket, object_store
from tfx_edge import proto
from tfx_edge.components import QATTrainer
from tfx_edge.components.core.compression.training.state_place import state_place
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.file_lock import locked
from tfx_edge.pipelines.kubeflow import object_store_files
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
from tfx_edge.pipelines.kubeflow.pods import PodOptions
from tfx_edge.pipelines.kubeflow.training_state import ABANDONED_SECONDS, kept_state

pytestmark = pytest.mark.slow

# Runs pods of a step: a process for each, forked from one that has imported what it needs. A pod may be lost at a step.
_PODS = """
import json, logging, os, signal, sys
from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.qat_trainer import executor
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx_edge.pipelines.kubeflow import container_step

training_checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.0
step_done = training_checkpoint.TrainingCheckpoint.step_done

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        def lost(checkpoint, steps, last=request['lost_at']):
            step_done(checkpoint, steps)
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)

        training_checkpoint.TrainingCheckpoint.step_done = lost
        os.environ['TFX_EDGE_MOUNT_ROOT'] = request['root']
        log = os.open(request['log'], os.O_CREAT | os.O_WRONLY)
        os.dup2(log, 1), os.dup2(log, 2)
        logging.basicConfig(level=logging.INFO, force=True)
        status = container_step.main(request['arguments'])
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_STEPS = 60


@pytest.fixture(scope='module')
def server() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture
def reached(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a step that reaches the store."""
    server.reach(monkeypatch)


@pytest.fixture(params=['volume', 's3'])
def place(request: pytest.FixtureRequest, reached: None, server: ObjectStore, tmp_path: pathlib.Path) -> str:
    """Where states are kept; nothing is there."""
    if request.param == 'volume':
        return str(tmp_path / 'volume' / 'training-state')
    uri = f's3://{new_bucket()}'
    server.put(f'{uri}/another object', b'')
    return f'{uri}/states'


def _left(place: str, server: ObjectStore) -> list[str]:
    """What is at a place."""
    if '://' in place:
        return server.keys(place)
    return [str(path) for path in pathlib.Path(place).rglob('*') if path.is_file()]


def _train(steps: int, lost_after: int | None = None) -> int:
    """Counts steps as a training does, keeping the number; returns how many were done in this pod."""
    kept = state_place()
    assert kept is not None
    file = pathlib.Path(kept.folder, 'key', 'steps')
    file.parent.mkdir(exist_ok=True)
    begin = int(file.read_text()) if file.exists() else 0
    for step in range(begin, steps):
        if step == lost_after:
            raise KeyboardInterrupt  # no error: nothing of a lost pod is run
        file.write_text(str(step + 1))
        kept.saved()
    return steps - begin


def _lose(place: str, execution: str, lost_after: int) -> None:
    with pytest.raises(KeyboardInterrupt), kept_state(place, execution):
        _train(10, lost_after)


def _fail(place: str, fault: Exception) -> None:
    with kept_state(place, 'run'):
        _train(3)
        raise fault


def test_next_pod_of_the_step_goes_on_and_no_other_step_sees_its_state(
    place: str, server: ObjectStore
) -> None:
    _lose(place, 'run-1/Pruner', 8)
    with kept_state(place, 'run-2/Pruner'):
        assert _train(10) == 10
    with kept_state(place, 'run-1/Pruner'):
        assert _train(10) == 2
    assert not _left(place, server)


def test_state_that_was_not_kept_whole_is_not_read(reached: None, server: ObjectStore) -> None:
    place = f's3://{new_bucket()}/states'
    server.put(f'{place}/another object', b'')
    _lose(place, 'run', 8)
    (whole,) = (key for key in server.keys(place) if key.endswith('/steps'))
    execution, copy = whole.split('/')[:2]
    server.put(f'{place}/{execution}/{copy.replace("copy-8", "copy-9")}/key/steps', b'')
    with kept_state(place, 'run'):
        assert _train(10) == 2


@pytest.mark.parametrize('current', ['', '3', '../another', f'copy-3-{"0" * 32}'])
def test_mark_that_names_no_state_is_no_state(current: str, reached: None, server: ObjectStore) -> None:
    place = f's3://{new_bucket()}/states'
    server.put(f'{place}/another object', b'')
    _lose(place, 'run', 8)
    (key,) = (key for key in server.keys(place) if key.endswith('/current'))
    server.put(f'{place}/{key}', current.encode())
    with kept_state(place, 'run'):
        assert _train(10) == 10


def test_state_that_another_pod_removes_meanwhile_is_no_state(
    reached: None, server: ObjectStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place = f's3://{new_bucket()}/states'
    server.put(f'{place}/another object', b'')
    _lose(place, 'run', 8)

    def gone(folder: str, *parts: str) -> str:
        server.remove(place)
        return inside(folder, *parts)

    inside = object_store_files.place_inside
    monkeypatch.setattr(object_store_files, 'place_inside', gone)
    with kept_state(place, 'run'):
        assert _train(10) == 10
    assert 'was removed while it was fetched' in capfd.readouterr().err


def test_what_a_step_refused_is_refused_again_at_once(place: str, server: ObjectStore) -> None:
    line = 'learning_rate is -1; give a number above 0.'
    with pytest.raises(EdgeError, match='above 0'):
        _fail(place, EdgeError(line))
    with pytest.raises(EdgeError) as again, kept_state(place, 'run'):
        pytest.fail('the step began anew')
    assert str(again.value) == line
    assert not [name for name in _left(place, server) if name.endswith('/steps')]
    with kept_state(place, 'the corrected run'):
        pass


def test_step_of_a_branch_that_refuses_leaves_nothing(place: str, server: ObjectStore) -> None:
    with (
        pytest.raises(EdgeError, match='no'),
        kept_state(place, 'run', remembers_refusal=False),
    ):
        raise EdgeError('no')
    assert not _left(place, server)


@pytest.mark.parametrize(
    'fault', [ClusterFault('the store is gone; run it again.'), EnvironmentFailure('the disk is full.')]
)
def test_fault_of_the_machine_leaves_the_state(place: str, fault: Exception, server: ObjectStore) -> None:
    with pytest.raises(type(fault)):
        _fail(place, fault)
    with kept_state(place, 'run'):
        assert _train(10) == 7


def test_state_that_nobody_comes_for_is_removed_and_nothing_else_is(
    place: str, server: ObjectStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _lose(place, 'terminated', 5)
    others = ['current', 'my-models/current', 'my-models/weights']
    if '://' in place:
        for name in others:
            server.put(f'{place}/{name}', b'mine')
        late = time.time() + 2 * ABANDONED_SECONDS
        monkeypatch.setattr('tfx_edge.pipelines.kubeflow.mirrored_folder.time.time', lambda: late)
    else:
        for name in others:
            path = pathlib.Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text('mine')
        for path in pathlib.Path(place).iterdir():
            os.utime(path, (0, 0))
    with kept_state(place, 'another run'):
        pass
    assert sorted(_left(place, server)) == [
        name if '://' in place else str(pathlib.Path(place, name)) for name in others
    ]
    assert 'tfx-edge: removing' in capfd.readouterr().err


def test_step_that_ended_well_does_not_fail_for_what_it_cannot_remove(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with kept_state(place, 'run'):
        _train(3)
        if '://' in place:
            monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:1')
            s3fs.S3FileSystem.clear_instance_cache()
        else:
            (folder,) = pathlib.Path(place).iterdir()
            folder.rename(folder.with_name('gone'))
    assert ('is left' in capfd.readouterr().err) == ('://' in place)


def test_state_of_a_pod_that_still_runs_stays(tmp_path: pathlib.Path) -> None:
    with kept_state(str(tmp_path), 'run'):
        _train(3)
        kept = state_place()
        assert kept is not None
        child = os.fork()
        if not child:
            with locked(f'{kept.folder}/key.lock'):
                time.sleep(600)
            os._exit(0)
        while not pathlib.Path(kept.folder, 'key.lock').exists():
            time.sleep(0.01)
        time.sleep(0.2)
    assert pathlib.Path(kept.folder, 'key', 'steps').exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with kept_state(str(tmp_path), 'run'):
        pass
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'volume').write_text('a file')
    with (
        pytest.raises(ClusterFault, match=r'training states .*volume/states cannot be written .*; mount'),
        kept_state(str(tmp_path / 'volume' / 'states'), 'run'),
    ):
        pytest.fail('the step began')


@pytest.fixture(scope='module')
def pods() -> Iterator[subprocess.Popen[str]]:
    from tfx_edge.components.core.isolation import server_handle

    environment = {**os.environ, **server_handle.THREADLESS}
    command = [sys.executable, '-W', 'ignore', '-c', _PODS]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate()


def _launcher(folder: pathlib.Path, run: str, model: pathlib.Path, examples: pathlib.Path) -> Launcher:
    """A run of QATTrainer whose state is on a volume, in a pod of its own."""
    types = tfx.types.standard_artifacts
    importers = [
        tfx.dsl.Importer('s3://bucket/Model', types.Model).with_id('Model'),
        tfx.dsl.Importer('s3://bucket/Examples', types.Examples).with_id('Examples'),
    ]
    trainer = QATTrainer(
        importers[0].outputs['result'],
        examples=importers[1].outputs['result'],
        fine_tuning=proto.FineTuning(num_steps=_STEPS),
    )
    pipeline = tfx.dsl.Pipeline('small', 'minio://bucket/root', components=[*importers, trainer])
    options = PodOptions(volumes=('claim:/state',), state='/state')
    text = as_text(compile_pipeline(pipeline, 'image', 'kfp', options), 'kfp')
    launcher = Launcher(next(yaml.safe_load_all(text)), folder / 'pod', run=run)
    launcher.record('Model', 'result', 's3://bucket/Model', {'custom:tfx_version': '1.16.0'})
    launcher.record('Examples', 'result', 's3://bucket/Examples', {'split_names': '["train", "eval"]'})
    for name, source in (('Model/Format-Serving', model), ('Examples', examples)):
        place = pathlib.Path(launcher.mounts.path(f's3://bucket/{name}'))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)
    return launcher


def test_qat_trainer_whose_pod_is_lost_goes_on_in_a_new_one_with_the_same_bytes(
    pods: subprocess.Popen[str],
    digits_saved_model: pathlib.Path,
    digits_examples: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    volume = tmp_path / 'volume'

    def start(run: str, pod: str, lost_at: int = 0) -> tuple[int, dict[str, bytes], str]:
        folder = tmp_path / pod
        launcher = _launcher(folder, run, digits_saved_model, digits_examples)
        request = {
            'arguments': [part.replace('/state', str(volume)) for part in launcher.arguments('QATTrainer')],
            'root': str(folder / 'pod'),
            'lost_at': lost_at,
            'log': str(folder / 'log'),
        }
        assert pods.stdin is not None
        assert pods.stdout is not None
        pods.stdin.write(json.dumps(request) + '\n')
        pods.stdin.flush()
        status = int(pods.stdout.readline())
        outputs = pathlib.Path(launcher.mounts.path(f'minio://bucket/root/small/{run}/QATTrainer'))
        files = {
            str(path.relative_to(outputs)): path.read_bytes()
            for path in sorted(outputs.rglob('*'))
            if path.is_file()
        }
        return status, files, (folder / 'log').read_text(errors='replace')

    status, _, log = start('disturbed', 'pod that is lost', lost_at=_STEPS * 8 // 10)
    assert status == -signal.SIGKILL, log
    status, expected, log = start('undisturbed', 'pod of another run')
    assert status == 0, log
    assert 'continuing after step' not in log
    status, found, log = start('disturbed', 'new pod')
    assert status == 0, log
    assert f'continuing after step {_STEPS * 8 // 10}' in log
    assert any(name.endswith('variables.index') for name in expected)
    assert found == expected
    assert not list(volume.iterdir())
