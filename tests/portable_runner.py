"""A portable runner for Beam on this machine, as deploy/ has one on a cluster."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def portable_runner(folder: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Arguments for a portable runner: a job server and an external pool of workers, each a process of its own."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        pool_port = free.getsockname()[1]
    port_file = folder / 'port'
    commands = [
        ['tfx_edge.pipelines.kubeflow.worker_pool', f'--service_port={pool_port}'],
        [
            'apache_beam.runners.portability.local_job_service_main',
            '--port=0',
            f'--port_file={port_file}',
            f'--staging_dir={folder}',
        ],
    ]
    with (folder / 'log').open('wb') as log:
        processes = [
            subprocess.Popen([sys.executable, '-m', *command], stdout=log, stderr=log) for command in commands
        ]
        try:
            deadline = time.monotonic() + 120
            while not (port_file.exists() and port_file.read_text() and _listening(pool_port)):
                assert time.monotonic() < deadline, (folder / 'log').read_text()
                assert all(process.poll() is None for process in processes), (folder / 'log').read_text()
                time.sleep(0.2)
            yield (
                '--runner=PortableRunner',
                f'--job_endpoint=localhost:{port_file.read_text()}',
                '--environment_type=EXTERNAL',
                f'--environment_config=localhost:{pool_port}',
            )
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(('localhost', port)) == 0
