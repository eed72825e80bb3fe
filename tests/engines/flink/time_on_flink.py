"""What a step takes on Flink, side by side with its own process: `make test-flink ARGS='-s -k time --rounds 4'`."""

from __future__ import annotations

import pathlib
import time

import pytest

from tests.engines import single_step
from tests.engines.flink.cluster import FlinkCluster
from tests.engines.single_step import Step
from tfx_edge.pipelines.local import BEAM_ARGS

_PARALLELISM = 2
# On an idle machine 1.2 to 1.5. A job whose jars are sent, or whose workers import TensorFlow, takes three times.
_MOST = 2.0


@pytest.fixture
def steps(
    flink: FlinkCluster, shared: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Step]:
    arguments = flink.beam_args(_PARALLELISM)
    return {
        'in process': single_step.evaluator(tmp_path_factory.mktemp('direct'), BEAM_ARGS),
        'on Flink': single_step.evaluator(tmp_path_factory.mktemp('flink'), arguments, shared),
    }


def test_time_of_the_evaluator_on_flink_is_near_its_time_in_process(
    steps: dict[str, Step], pytestconfig: pytest.Config
) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(pytestconfig.getoption('--rounds')):
        for name, step in steps.items():
            started = time.monotonic()
            step.run()
            seconds[name].append(time.monotonic() - started)
    for name, taken in seconds.items():
        print(f'\nEdgeEvaluator {name}: {", ".join(f"{one:.1f}" for one in taken)} s', end='')
    # The least of each: what else the machine does can only add to it.
    ratio = min(seconds['on Flink']) / min(seconds['in process'])
    print(f'\nleast on Flink / least in process: {ratio:.2f}')
    assert ratio <= _MOST, seconds
    assert single_step.report(steps['on Flink']) == single_step.report(steps['in process'])
