"""A step's folder on the shared volume: nothing of it stays, whatever becomes of the step."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tfx_edge.pipelines.kubeflow import folder_owner, shared_folder
from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs

STEP = """
import pathlib, sys, time
from tfx_edge.pipelines.kubeflow import exit_status, shared_folder
from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs

def work():
    with shared_folder.own_folder(sys.argv[1], 'execution', EngineJobs('x.Executor', [])) as folder:
        (pathlib.Path(folder) / 'written').touch()
        time.sleep(600)

exit_status.end_process(exit_status.exit_status('the step', work))
"""
OTHER_HOST = folder_owner.Owner('execution', '', 'another', 1, 1)
NAME = '00000000-0000-4000-8000-000000000000'


@pytest.fixture
def step(tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has written into its folder."""
    process = subprocess.Popen([sys.executable, '-c', STEP, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob('*/written')):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def begin_and_end(volume: pathlib.Path, execution: str = 'mine') -> None:
    with shared_folder.own_folder(str(volume), execution, EngineJobs('x.Executor', [])) as folder:
        assert pathlib.Path(folder).is_dir()


def left(volume: pathlib.Path, owner: folder_owner.Owner | None, silent: float = 0.0) -> pathlib.Path:
    folder = volume / NAME
    folder.mkdir()
    (folder / 'written').touch()
    if owner:
        file = volume / f'{NAME}.owner'
        folder_owner.write(file, owner)
        os.utime(file, (time.time() - silent,) * 2)
    return folder


def test_step_that_is_terminated_removes_its_folder(
    step: subprocess.Popen[str], tmp_path: pathlib.Path
) -> None:
    step.terminate()
    _, errors = step.communicate(timeout=60)
    assert step.returncode == 143
    assert errors.splitlines()[-1] == 'tfx-edge: the step was terminated'
    assert not list(tmp_path.iterdir())


def test_step_whose_log_has_no_reader_any_more_removes_its_folder(
    step: subprocess.Popen[str], tmp_path: pathlib.Path
) -> None:
    """Kubeflow's launcher, which reads it, ends first when a run is terminated."""
    assert step.stderr is not None
    step.stderr.close()
    step.terminate()
    assert step.wait(timeout=60) == 143
    assert not list(tmp_path.iterdir())


def test_folder_of_a_step_that_was_killed_is_removed_by_the_next(
    step: subprocess.Popen[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_and_end(tmp_path)
    (folder,) = tmp_path.glob('*/written')
    step.send_signal(signal.SIGKILL)
    step.wait()
    begin_and_end(tmp_path)
    assert not list(tmp_path.iterdir())
    assert f'tfx-edge: removing {folder.parent}, which an earlier step left' in capsys.readouterr().err


def test_second_process_of_an_execution_takes_the_first_for_gone(
    step: subprocess.Popen[str], tmp_path: pathlib.Path
) -> None:
    begin_and_end(tmp_path, 'execution')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('silent', 'stays'), [(90.0, True), (150.0, False)])
def test_folder_of_another_host_stays_while_its_owner_is_heard(
    silent: float, stays: bool, tmp_path: pathlib.Path
) -> None:
    folder = left(tmp_path, OTHER_HOST, silent)
    begin_and_end(tmp_path)
    assert folder.exists() is stays
    assert len(list(tmp_path.iterdir())) == (2 if stays else 0)


def test_owner_is_heard_every_few_seconds(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_owner, 'BEAT_SECONDS', 0.05)
    with shared_folder.own_folder(str(tmp_path), 'mine', EngineJobs('x.Executor', [])):
        (file,) = tmp_path.glob('*.owner')
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 10
        while file.stat().st_mtime < time.time() - 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_what_is_not_a_steps_own_is_left_alone(tmp_path: pathlib.Path) -> None:
    left(tmp_path, None)
    for name in ('beam-artifacts', '..owner'):
        (tmp_path / name).mkdir()
    (tmp_path / 'notes.owner').write_text('{}')
    (tmp_path / f'{NAME[:-1]}1.owner').write_text('no json')
    before = sorted(tmp_path.iterdir())
    begin_and_end(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_folder_of_a_step_that_fails_is_removed_though_a_worker_still_writes_there(
    tmp_path: pathlib.Path,
) -> None:
    def write(folder: str) -> None:
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                os.makedirs(f'{folder}/output/deep')

    with pytest.raises(ZeroDivisionError):
        fail_beside(tmp_path, write)
    assert not list(tmp_path.iterdir())


def fail_beside(volume: pathlib.Path, write: Callable[[str], None]) -> None:
    with shared_folder.own_folder(str(volume), 'mine', EngineJobs('x.Executor', [])) as folder:
        threading.Thread(target=write, args=(folder,)).start()
        raise ZeroDivisionError
