"""Engines that run Beam's pipelines elsewhere; see private_host.py for where these tests run."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.engines.pods import Pods
from tests.engines.single_step import REPOSITORY

# What `make` brings there with Maven and Go.
CACHE = REPOSITORY / '.engines'


@pytest.fixture(scope='session')
def pods(tmp_path_factory: pytest.TempPathFactory) -> Pods:
    """The network of the pods."""
    return Pods(tmp_path_factory.mktemp('pods'))


@pytest.fixture(scope='session')
def shared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The shared volume."""
    return tmp_path_factory.mktemp('shared')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With a failure come the last lines of what ran in the pods."""
    report = yield
    pods = item.funcargs.get('pods') if isinstance(item, pytest.Function) else None
    if report.failed and pods is not None:
        for log in sorted(pods.folder.glob('*.log')):
            report.sections.append((log.name, log.read_text(errors='replace')[-2000:]))
    return report


@pytest.fixture(scope='session')
def local_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What LocalDagRunner makes with the direct runner."""
    from tests.digits_runs import made_locally
    from tfx_edge.pipelines.digits import data
    from tfx_edge.pipelines.local import BEAM_ARGS

    folder = tmp_path_factory.mktemp('local')
    data.write_examples(folder / 'data')
    return made_locally(folder / 'data', BEAM_ARGS, folder / 'run')
