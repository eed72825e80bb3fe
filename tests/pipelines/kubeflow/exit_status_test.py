"""How a container's work ends: by itself, by a fault, by SIGTERM."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import exit_status

WORK = """
import pathlib, sys, time
from tfx_edge.pipelines.kubeflow import exit_status

def work():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir()
    try:
        while True:
            try:
                time.sleep(0.2)  # a signal that comes right before a sleep is seen after it
            except Exception:
                pass
    finally:
        folder.rmdir()

exit_status.end_process(exit_status.exit_status('the work', work))
"""


@pytest.mark.parametrize('as_process_1', [False, True])
def test_sigterm_ends_the_work_and_what_it_holds(as_process_1: bool, tmp_path: pathlib.Path) -> None:
    namespace = ['unshare', '--pid', '--fork'] if as_process_1 else []
    if subprocess.run([*namespace, 'true'], capture_output=True).returncode != 0:
        pytest.skip('this user may make no process namespace')
    folder = tmp_path / 'held'
    process = subprocess.Popen(
        [*namespace, sys.executable, '-c', WORK, str(folder)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    start = time.monotonic()
    os.kill(_worker(process.pid) if as_process_1 else process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 2
    assert process.returncode == 143
    assert errors.splitlines()[-1] == 'tfx-edge: the work was terminated'
    assert not folder.exists()


def _worker(parent: int) -> int:
    (child,) = pathlib.Path(f'/proc/{parent}/task/{parent}/children').read_text().split()
    return int(child)


def test_fault_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise EdgeError('x is 3; give 4.')

    before = signal.getsignal(signal.SIGTERM)
    assert exit_status.exit_status('the work', fail) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'Traceback (most recent call last):'
    assert lines[-1] == 'tfx-edge: the work failed: x is 3; give 4.'
    assert signal.getsignal(signal.SIGTERM) == before


def test_work_that_ends_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status.exit_status('the work', lambda: None) == 0
    assert capsys.readouterr().err == ''
