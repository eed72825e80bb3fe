"""Two runs of one step: one keeps the state, the other trains without; a killed run's state is free."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import pytest

from tfx_edge.components.core.compression.training.state_owner import owned


def test_the_second_run_keeps_no_state_until_the_first_has_ended(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(tmp_path / '.unfinished' / 'key')
    with owned(folder) as first:
        assert first == folder
        with owned(folder) as second:
            assert second == ''
        assert 'another run trains with the same inputs and configuration' in caplog.text
        with owned(str(tmp_path / '.unfinished' / 'another key')) as other:
            assert other
    with owned(folder) as third:
        assert third == folder
    assert not list((tmp_path / '.unfinished').iterdir())


def test_a_killed_owner_owns_nothing(tmp_path: pathlib.Path) -> None:
    folder = str(tmp_path / 'key')
    child = os.fork()
    if not child:
        with owned(folder):
            time.sleep(600)
        os._exit(0)
    end = time.monotonic() + 30
    while not os.path.exists(f'{folder}.lock'):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)
    with owned(folder) as alive:
        assert alive == ''
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with owned(folder) as free:
        assert free == folder


@pytest.mark.parametrize('folder', ['', 's3://bucket/model/.unfinished/key'])
def test_where_there_is_nothing_to_lock_every_run_is_the_owner(folder: str) -> None:
    with owned(folder) as one, owned(folder) as other:
        assert one == other == folder
