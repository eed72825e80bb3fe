"""A pool of Beam's Python workers, asked for a worker as a runner does."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import time
from collections.abc import Iterator

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from tests import processes
from tfx_edge.pipelines.kubeflow import worker_server


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return int(free.getsockname()[1])


def start_worker(port: int, endpoint: str, name: str = 'worker-1') -> None:
    """Asks the pool for a worker as a Beam runner does."""
    with _service(port) as service:
        request = beam_fn_api_pb2.StartWorkerRequest(
            worker_id=name, control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=endpoint)
        )
        assert service.StartWorker(request).error == ''


def stop_worker(port: int, name: str = 'worker-1') -> None:
    """Tells the pool to end a worker, as a Beam runner does."""
    with _service(port) as service:
        assert service.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=name)).error == ''


@contextlib.contextmanager
def _service(port: int) -> Iterator[beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub]:
    with grpc.insecure_channel(f'localhost:{port}') as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        yield beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)


def worker_below(pid: int) -> int:
    """The worker of a pool, once it is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in processes.below(pid):
            if name_of(child) == worker_server.NAME:
                return child
        time.sleep(0.1)
    raise AssertionError('the pool started no worker')


def name_of(pid: int) -> str:
    """What `ps` calls a process; '' if it has ended."""
    try:
        return pathlib.Path(f'/proc/{pid}/comm').read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ''


def is_mapped(pid: int, library: str) -> bool:
    """Whether a process has come so far that it has loaded a library."""
    return library in pathlib.Path(f'/proc/{pid}/maps').read_text()
