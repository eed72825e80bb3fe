"""Beam's worker pool as a container runs it: SIGTERM ends it and its workers at once, also as process 1."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests import processes
from tests.worker_pool import free_port, is_mapped, start_worker, worker_below


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that takes connections and never answers: a worker that has it waits."""
    with socket.create_server(('localhost', 0)) as server:
        yield f'localhost:{server.getsockname()[1]}'


@pytest.mark.parametrize('is_first', [False, True], ids=['as a child', 'as process 1'])
def test_sigterm_ends_the_pool_and_its_worker_within_two_seconds(
    is_first: bool, silent_endpoint: str, tmp_path: pathlib.Path
) -> None:
    if is_first and not processes.can_be_first():
        pytest.skip('process 1 of a namespace needs unshare and the right to use it')
    port = free_port()
    command = [sys.executable, '-m', 'tfx_edge.pipelines.kubeflow.worker_pool', f'--service_port={port}']
    log = tmp_path / 'log'
    with log.open('wb') as stream:
        started = subprocess.Popen(
            [*(processes.AS_FIRST if is_first else []), *command],
            stdout=stream,
            stderr=stream,
            umask=0o022,
        )
    try:
        start_worker(port, silent_endpoint)
        worker = worker_below(started.pid)
        while not is_mapped(worker, 'cygrpc'):
            time.sleep(0.1)
        # What it writes on a shared volume, a step of another user and the same group removes.
        assert 'Umask:\t0002\n' in pathlib.Path(f'/proc/{worker}/status').read_text()
        pool = next(iter(processes.below(started.pid))) if is_first else started.pid
        of_pool = processes.below(pool)
        assert worker in of_pool
        sent = time.monotonic()
        os.kill(pool, signal.SIGTERM)
        status = started.wait(20)
        seconds = time.monotonic() - sent
        processes.wait_for_end(of_pool, 2)
        assert status == 143, log.read_text()
        assert seconds < 2
        assert 'the worker pool was terminated, and its workers.' in log.read_text()
    finally:
        started.kill()
        started.wait()
