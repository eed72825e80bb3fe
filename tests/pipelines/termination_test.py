"""A command ends on SIGTERM at once, also as the first process of a container."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import processes

pytestmark = pytest.mark.slow

COMMAND = str(pathlib.Path(sys.executable).with_name('tfx-edge'))


@pytest.mark.parametrize('is_first', [False, True], ids=['as a child', 'as process 1'])
def test_sigterm_ends_a_command_and_all_that_it_has_started(is_first: bool, tmp_path: pathlib.Path) -> None:
    if is_first and not processes.can_be_first():
        pytest.skip('process 1 of a namespace needs unshare and the right to use it')
    command = [*(processes.AS_FIRST if is_first else []), COMMAND, 'demo', '--output', str(tmp_path / 'demo')]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        assert 'loading TFX' in started.stdout.readline()
        # Importing, with what converts models started beside it.
        time.sleep(2)
        below = processes.below(started.pid)
        command_pid = below[0] if is_first else started.pid
        sent = time.monotonic()
        os.kill(command_pid, signal.SIGTERM)
        _, errors = started.communicate(timeout=30)
        seconds = time.monotonic() - sent
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 143
    assert errors == 'tfx-edge: terminated\n'
    assert seconds < 2
    # What loads TensorFlow for it finds out when that is done.
    processes.wait_for_end(below, 30)
