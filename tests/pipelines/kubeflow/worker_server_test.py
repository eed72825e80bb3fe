"""Workers of the pool are forked from a process that has imported what they need, and end with it and with the pool."""

from __future__ import annotations

import dataclasses
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
from tests.worker_pool import free_port, is_mapped, name_of, start_worker, stop_worker
from tfx_edge.pipelines.kubeflow import worker_request, worker_server

pytestmark = pytest.mark.slow

# With the pool, which imports Beam, and on a busy machine; a worker that imports TensorFlow and TFX takes ten times it.
_SECONDS = 2.0
_TENSORFLOW = 'libtensorflow_framework'


@dataclasses.dataclass(frozen=True)
class Pool:
    """A pool that runs.

    Attributes:
      process: the process itself.
      port: where it listens.
      log: what it and its workers print.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: pathlib.Path

    def ask(self, name: str) -> float:
        """Asks for a worker: the seconds until it has come to its runner, who never answers it."""
        with socket.create_server(('localhost', 0)) as runner:
            asked = time.monotonic()
            start_worker(self.port, f'localhost:{runner.getsockname()[1]}', name)
            runner.settimeout(120)
            runner.accept()[0].close()
            return time.monotonic() - asked

    def start(self, name: str) -> tuple[int, float]:
        """Asks for a worker that is forked: its process id, and the seconds."""
        before = self.workers()
        seconds = self.ask(name)
        (worker,) = self.workers() - before
        return worker, seconds

    def workers(self) -> set[int]:
        return {pid for pid in self.below() if name_of(pid) == worker_server.NAME}

    def below(self) -> list[int]:
        return processes.below(self.process.pid)

    def server(self) -> int:
        """The process that forks."""
        return next(pid for pid in self.below() if worker_server.__name__ in processes.command(pid))

    def client(self, name: str) -> int:
        """The process that the pool has started for a worker."""
        found = (pid for pid in self.below() if f'--id={name}' in processes.command(pid))
        return next(found)


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from _pool(tmp_path_factory.mktemp('pool'), {})


@pytest.fixture
def pool(made: Pool) -> Pool:
    """One whose modules are there."""
    made.ask('first')
    stop_worker(made.port, 'first')
    return made


def _pool(folder: pathlib.Path, environment: dict[str, str]) -> Iterator[Pool]:
    port, log = free_port(), folder / 'log'
    command = [sys.executable, '-m', 'tfx_edge.pipelines.kubeflow.worker_pool', f'--service_port={port}']
    with log.open('wb') as stream:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=stream, stderr=stream)
        try:
            yield Pool(process, port, log)
        finally:
            process.terminate()
            process.wait()


def test_worker_is_there_at_once_with_tensorflow_and_in_the_pools_process_group(pool: Pool) -> None:
    worker, seconds = pool.start('quick')
    assert seconds < _SECONDS
    assert is_mapped(worker, _TENSORFLOW)
    assert os.getpgid(worker) == pool.process.pid
    stop_worker(pool.port, 'quick')


def test_worker_ends_when_the_runner_stops_it_and_another_goes_on(pool: Pool) -> None:
    one, _ = pool.start('one')
    other, _ = pool.start('other')
    client = pool.client('one')
    stop_worker(pool.port, 'one')
    processes.wait_for_end([one, client], 2)
    assert processes.is_alive(other)
    stop_worker(pool.port, 'other')
    processes.wait_for_end([other], 2)


def test_worker_ends_with_the_process_that_stands_for_it(pool: Pool) -> None:
    worker, _ = pool.start('killed')
    os.kill(pool.client('killed'), signal.SIGKILL)
    processes.wait_for_end([worker], 2)


def test_process_that_stands_for_a_worker_ends_as_that_does(pool: Pool) -> None:
    worker, _ = pool.start('crashed')
    client = pool.client('crashed')
    os.kill(worker, signal.SIGKILL)
    processes.wait_for_end([worker, client], 2)


def test_pool_and_workers_end_when_the_server_is_killed(tmp_path: pathlib.Path) -> None:
    for made in _pool(tmp_path, {}):
        worker, _ = made.start('left')
        of_pool = made.below()
        assert worker in of_pool
        os.kill(made.server(), signal.SIGKILL)
        assert made.process.wait(5) == 1
        processes.wait_for_end(of_pool, 2)
        assert 'the server of the workers ended with status -9, and the pool with it.' in made.log.read_text()


def test_server_that_cannot_import_or_fork_says_so_and_the_worker_starts_by_itself(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / 'sitecustomize.py').write_text(
        'import sys, threading\n'
        f'if "{worker_server.__name__}" in sys.orig_argv:\n'
        '    sys.modules["tensorflow"] = None\n'
        '    threading.Thread(target=threading.Event().wait, daemon=True).start()\n'
    )
    path = f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    for made in _pool(tmp_path, {'PYTHONPATH': path}):
        made.ask('slow')
        lines = made.log.read_text().splitlines()
        (cannot,) = [line for line in lines if line.startswith('tfx-edge: tensorflow cannot be imported')]
        assert 'before the workers start' in cannot
        (reason,) = [line for line in lines if 'a worker was not forked, and takes longer to start' in line]
        assert 'the process with the imported modules has 2 threads' in reason
        assert worker_request.__name__ not in processes.command(made.client('slow'))
