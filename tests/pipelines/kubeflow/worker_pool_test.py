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

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from tests import processes


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that takes connections and never answers: a worker that has it waits."""
    with socket.create_server(('localhost', 0)) as server:
        yield f'localhost:{server.getsockname()[1]}'


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return int(free.getsockname()[1])


def start_worker(port: int, endpoint: str) -> None:
    """Asks the pool for a worker as a Beam runner does."""
    with grpc.insecure_channel(f'localhost:{port}') as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        service = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request = beam_fn_api_pb2.StartWorkerRequest(
            worker_id='worker-1', control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=endpoint)
        )
        assert service.StartWorker(request).error == ''


def worker_below(pid: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in processes.below(pid):
            if 'SdkHarness' in processes.command(child):
                return child
        time.sleep(0.1)
    raise AssertionError('the pool started no worker')


def is_mapped(pid: int, library: str) -> bool:
    """Whether a process has come so far that it has loaded a library."""
    return library in pathlib.Path(f'/proc/{pid}/maps').read_text()


@pytest.mark.parametrize('is_first', [False, True], ids=['as a child', 'as process 1'])
def test_sigterm_ends_the_pool_and_its_worker_within_two_seconds(
    is_first: bool, silent_endpoint: str, tmp_path: pathlib.Path
) -> None:
    if is_first and not processes.can_be_first():
        pytest.skip('process 1 of a namespace needs unshare and the right to use it')
    port = free_port()
    command = [sys.executable, '-m', 'tfx_edge.pipelines.kubeflow.worker_pool', f'--service_port={port}']
    # The pool starts a bare `python`.
    binaries = f'{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    log = tmp_path / 'log'
    with log.open('wb') as stream:
        started = subprocess.Popen(
            [*(processes.AS_FIRST if is_first else []), *command],
            env={**os.environ, 'PATH': binaries},
            stdout=stream,
            stderr=stream,
        )
    try:
        start_worker(port, silent_endpoint)
        worker = worker_below(started.pid)
        while not is_mapped(worker, 'cygrpc'):
            time.sleep(0.1)
        pool = next(iter(processes.below(started.pid))) if is_first else started.pid
        sent = time.monotonic()
        os.kill(pool, signal.SIGTERM)
        status = started.wait(20)
        seconds = time.monotonic() - sent
        processes.wait_for_end([worker], 2)
        assert status == 143, log.read_text()
        assert seconds < 2
        assert 'the worker pool was terminated, and its workers.' in log.read_text()
    finally:
        started.kill()
        started.wait()
