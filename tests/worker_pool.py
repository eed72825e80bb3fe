"""A pool of Beam's Python workers, asked for a worker as a runner does."""

from __future__ import annotations

import pathlib
import socket
import time

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from tests import processes


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
