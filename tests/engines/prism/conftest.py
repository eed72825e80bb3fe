"""Beam's Prism with a pool of workers beside it, for all tests on it."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Sequence

import pytest

from tests.engines.pods import Pods, wait_for_port

_JOB_PORT, _POOL_PORT = 8073, 50000


@pytest.fixture(scope='session')
def prism(pods: Pods) -> Sequence[str]:
    """Beam arguments for Prism, which steps and workers are set to reach at localhost: all are in one pod."""
    pod = pods.own()
    server = pod.start('prism', [os.environ['PRISM'], '--serve_http=false', f'--job_port={_JOB_PORT}'])
    # The pool starts a bare `python`.
    binaries = f'{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    pool = pod.start(
        'beam-workers',
        [sys.executable, '-m', 'apache_beam.runners.worker.worker_pool_main', f'--service_port={_POOL_PORT}'],
        {'PATH': binaries},
    )
    wait_for_port(pod.name, _JOB_PORT, [server])
    wait_for_port(pod.name, _POOL_PORT, [pool])
    return (
        '--runner=PortableRunner',
        f'--job_endpoint={pod.name}:{_JOB_PORT}',
        '--environment_type=EXTERNAL',
        f'--environment_config=localhost:{_POOL_PORT}',
        '--sdk_container_image=image',
    )
