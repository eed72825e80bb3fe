"""One Flink cluster for all tests on it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.engines import manifests
from tests.engines.conftest import CACHE
from tests.engines.flink.cluster import FlinkCluster
from tests.engines.pods import Pods


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--rounds', type=int, default=2, help='how often time_on_flink.py measures')


@pytest.fixture(scope='session')
def started_flink(pods: Pods, shared: pathlib.Path) -> FlinkCluster:
    """The pods of deploy/kubernetes."""
    cluster = FlinkCluster(pods, CACHE / 'flink', shared, manifests.deployments())
    cluster.start()
    return cluster


@pytest.fixture
def flink(started_flink: FlinkCluster) -> Iterator[FlinkCluster]:
    """The cluster with every slot free; whatever a test has killed is started anew after it."""
    yield started_flink
    started_flink.ready()
