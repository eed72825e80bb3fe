"""Steps of several users on one volume: what one left the next reads and removes, or says in one line why it cannot."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.pipelines.kubeflow.pod_user import PodUser, why_not
from tfx_edge.components.core.compression.training.state_place import state_place
from tfx_edge.components.core.file_lock import locked
from tfx_edge.pipelines.kubeflow import shared_folder
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs
from tfx_edge.pipelines.kubeflow.mounts import Mounts
from tfx_edge.pipelines.kubeflow.training_state import FOLDER, kept_state

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

GROUP = 2000
FIRST, SECOND = (PodUser(uid, groups=(GROUP,)) for uid in (1000660000, 1000770000))
# Without a group in common with anybody, as where a volume has no fsGroup.
ALONE, STRANGER = PodUser(4242, gid=4242), PodUser(4343, gid=4343)
REMEDY = r'give all steps and workers one user \(runAsUser\), or one group \(fsGroup\)'


@pytest.fixture
def volume() -> Iterator[pathlib.Path]:
    """A volume with an fsGroup. pytest's own folders let nobody but their owner pass."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        folder = pathlib.Path(above) / 'volume'
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        yield folder


@pytest.fixture
def open_volume(volume: pathlib.Path) -> pathlib.Path:
    """A volume where everybody may write."""
    volume.chmod(0o777)
    return volume


def lost(body: Callable[[], object], user: PodUser) -> None:
    """Does something as a user in a process of its own, which is gone before it has cleaned up."""
    process = os.fork()
    if process == 0:
        try:
            with user.acting():
                body()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def lose_beam_step(volume: pathlib.Path, user: PodUser) -> pathlib.Path:
    """Leaves the folder of a step whose process is gone, with a file in a folder of what it made."""

    def work() -> None:
        with shared_folder.own_folder(str(volume), 'lost', EngineJobs('x.Executor', [])) as folder:
            inside = pathlib.Path(folder, 'minio', 'model')
            inside.mkdir(parents=True)
            (inside / 'weights').write_text('made')
            os._exit(0)

    lost(work, user)
    (weights,) = volume.glob('*/minio/model/weights')
    return weights.parents[2]


def next_beam_step(volume: pathlib.Path, user: PodUser) -> None:
    with user.acting(), shared_folder.own_folder(str(volume), 'next', EngineJobs('x.Executor', [])):
        pass


def test_pods_user_owns_nothing_but_its_own_folder_and_tmp(tmp_path: pathlib.Path) -> None:
    pod = tmp_path / 'pod'
    (pod / 'own').mkdir(parents=True)
    FIRST.owns(pod / 'own')
    script = """
import os, pathlib
def may_write(folder):
    try:
        (pathlib.Path(folder) / 'written').touch()
    except PermissionError:
        return False
    return True
print(os.getuid(), sorted(os.getgroups()), os.environ['HOME'], 'USER' in os.environ, os.listdir('/tmp') != [])
print([may_write(folder) for folder in ('.', os.environ['HOME'], '/var/tmp', '/tmp', 'own')])
"""
    done = subprocess.run(
        FIRST.command([os.path.realpath(sys.executable), '-c', script]),
        env=FIRST.environment(os.environ, pod, []),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    in_tmp = tmp_path.is_relative_to('/tmp')
    assert done.stdout.splitlines() == [
        f'1000660000 [0, 2000] / False {in_tmp}',
        '[False, False, False, True, True]',
    ]


def test_folder_of_a_lost_step_is_removed_by_another_user_of_the_group(
    volume: pathlib.Path,
) -> None:
    lose_beam_step(volume, FIRST)
    next_beam_step(volume, SECOND)
    assert not list(volume.iterdir())


def test_folder_that_another_user_closed_fails_no_step_and_is_named(
    open_volume: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    left = lose_beam_step(open_volume, ALONE)
    next_beam_step(open_volume, STRANGER)
    errors = capfd.readouterr().err
    assert f'tfx-edge: {left} cannot be removed: {left} is drwxrwxr-x of user 4242, group 4242; ' in errors
    assert 'this is user 4343 of group 4343; give all steps and workers one user' in errors
    # Its own folder is gone, and whoever may removes the other.
    assert len(list(open_volume.iterdir())) == 2
    next_beam_step(open_volume, ALONE)
    assert not list(open_volume.iterdir())


def test_what_is_copied_to_the_volume_is_the_groups_whatever_it_was_before(volume: pathlib.Path) -> None:
    with FIRST.acting(), tempfile.TemporaryDirectory() as pod:
        model = pathlib.Path(pod, 'minio', 'bucket', 'model', 'variables')
        model.mkdir(parents=True, mode=0o700)
        (model / 'index').touch(mode=0o600)
        with shared_folder.own_folder(str(volume), 'step', EngineJobs('x.Executor', [])) as folder:
            shared_folder.copy(['minio://bucket/model'], Mounts(pod), Mounts(folder))
            made = pathlib.Path(folder, 'minio', 'bucket', 'model', 'variables')
            # Another user's worker reads, and writes beside it.
            found = [made.stat(), (made / 'index').stat()]
    assert [(status.st_mode & 0o070, status.st_gid) for status in found] == [(0o070, GROUP), (0o060, GROUP)]


def test_file_of_a_worker_that_the_step_may_not_read_is_named(open_volume: pathlib.Path) -> None:
    (open_volume / 'minio' / 'bucket').mkdir(parents=True)
    with ALONE.acting():
        (open_volume / 'weights').touch(mode=0o600)
    file = (open_volume / 'weights').rename(open_volume / 'minio' / 'bucket' / 'weights')
    with (
        STRANGER.acting(),
        pytest.raises(
            ClusterFault, match=rf'{file} cannot be copied .*{file} is -rw------- of user 4242.*; {REMEDY}'
        ),
    ):
        shared_folder.copy(
            ['minio://bucket/weights'], Mounts(str(open_volume)), Mounts(str(open_volume / 'pod'))
        )


def test_volume_of_another_user_is_refused_in_one_line(volume: pathlib.Path) -> None:
    why = rf'{volume} is drwxrwsr-x of user 0, group {GROUP}; this is user 4242 of group 4242'
    with ALONE.acting():
        with (
            pytest.raises(
                ClusterFault, match=rf'shared folder {volume} cannot be written .*{why}\); {REMEDY}'
            ),
            shared_folder.own_folder(str(volume), 'step', EngineJobs('x.Executor', [])),
        ):
            pytest.fail('the step began')
        with (
            pytest.raises(
                ClusterFault,
                match=rf'training states .* cannot be written .*{why}\); {REMEDY}.*; or .*--state',
            ),
            kept_state(str(volume / FOLDER), 'step'),
        ):
            pytest.fail('the step began')


def lose_training(states: pathlib.Path, user: PodUser) -> None:
    """Leaves the state of a training in whose middle the pod is gone."""

    def train() -> None:
        with kept_state(str(states), 'QATTrainer'):
            kept = state_place()
            assert kept is not None
            with locked(f'{kept.folder}/key.lock'):
                pathlib.Path(kept.folder, 'key').mkdir()
                pathlib.Path(kept.folder, 'key', 'steps').write_text('8')
                kept.saved()
                os._exit(0)

    lost(train, user)


def test_training_of_a_lost_pod_goes_on_as_another_user_of_the_group(volume: pathlib.Path) -> None:
    states = volume / FOLDER
    lose_training(states, FIRST)
    with SECOND.acting(), kept_state(str(states), 'QATTrainer'):
        kept = state_place()
        assert kept is not None
        file = pathlib.Path(kept.folder, 'key', 'steps')
        assert file.read_text() == '8'
        with locked(f'{kept.folder}/key.lock'):
            file.write_text('9')
            kept.saved()
    assert not list(states.iterdir())


def test_training_states_of_several_users_lie_side_by_side_where_everybody_may_write(
    open_volume: pathlib.Path,
) -> None:
    states = open_volume / FOLDER
    lose_training(states, ALONE)
    with STRANGER.acting(), kept_state(str(states), 'Pruner'):
        pass
    (left,) = states.iterdir()
    with (
        STRANGER.acting(),
        pytest.raises(
            ClusterFault, match=rf'cannot be written .*{left} is drwxrwxr-x of user 4242.*; {REMEDY}'
        ),
        kept_state(str(states), 'QATTrainer'),
    ):
        pytest.fail('the step began')
