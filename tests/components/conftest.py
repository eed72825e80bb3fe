"""Artifacts of the shared digits data, as ExampleGen and Trainer write them, and a portable runner for Beam."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope='session')
def examples_artifact(digits_examples: pathlib.Path) -> Any:
    """Examples with the splits train and eval."""
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = str(digits_examples)
    artifact.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    return artifact


@pytest.fixture(scope='session')
def model_artifact(digits_saved_model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The digits net as a Trainer's Model."""
    from tfx.types import standard_artifacts
    from tfx.utils import path_utils

    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path_factory.mktemp('trainer'))
    # Without a version TFX takes an artifact for one of its oldest, laid out differently.
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    shutil.copytree(digits_saved_model, path_utils.serving_model_dir(artifact.uri))
    return artifact


@pytest.fixture(scope='session')
def portable_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Arguments for a portable runner: a job server and an external pool of workers, each a process of its own."""
    folder = tmp_path_factory.mktemp('portable_runner')
    with socket.socket() as free:
        free.bind(('localhost', 0))
        pool_port = free.getsockname()[1]
    port_file = folder / 'port'
    commands = [
        ['worker.worker_pool_main', f'--service_port={pool_port}'],
        [
            'portability.local_job_service_main',
            '--port=0',
            f'--port_file={port_file}',
            f'--staging_dir={folder}',
        ],
    ]
    # The pool starts a bare `python`.
    binaries = f'{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    with (folder / 'log').open('wb') as log:
        processes = [
            subprocess.Popen(
                [sys.executable, '-m', f'apache_beam.runners.{command[0]}', *command[1:]],
                env={**os.environ, 'PATH': binaries},
                stdout=log,
                stderr=log,
            )
            for command in commands
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
