"""A private host ends with its command, and leaves nothing."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import processes
from tests.engines import private_host

_REPOSITORY = pathlib.Path(__file__).parents[2]
_INTERFACE = 'edge-test'
# A process that outlives its parent, and a change of the network.
_COMMAND = f'ip link add name {_INTERFACE} type bridge; setsid sleep 987 & touch "$1"; wait'


@pytest.mark.short
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_private_host_leaves_no_process_and_no_network_when_it_is_ended_by(
    number: signal.Signals, tmp_path: pathlib.Path
) -> None:
    started = tmp_path / 'started'
    command = ['sh', '-c', _COMMAND, 'sh', str(started)]
    host = subprocess.Popen([sys.executable, '-m', private_host.__name__, *command], cwd=_REPOSITORY)
    while not started.exists():
        assert host.poll() is None
        time.sleep(0.05)
    inside = processes.below(host.pid)
    assert any('987' in processes.command(process) for process in inside)
    host.send_signal(number)
    host.wait(10)
    deadline = time.monotonic() + 10
    while any(processes.is_alive(process) for process in inside):
        assert time.monotonic() < deadline, [
            (p, processes.command(p)) for p in inside if processes.is_alive(p)
        ]
        time.sleep(0.05)
    assert not pathlib.Path('/sys/class/net', _INTERFACE).exists()
