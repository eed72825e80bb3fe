"""Steps on Flink with the numbers of deploy/kubernetes: what comes out is what the direct runner makes."""

from __future__ import annotations

import pathlib

import pytest

from tests.engines import single_step
from tests.engines.flink.cluster import FlinkCluster
from tests.engines.flink.volume import left_on
from tests.engines.single_step import Step
from tfx_edge.pipelines.local import BEAM_ARGS


@pytest.fixture(scope='module')
def evaluated(
    started_flink: FlinkCluster, shared: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Step:
    """EdgeEvaluator, on all slots: it has the most blocking edges, so that network buffers, memory or time-outs which
    are too small for any step fail it."""
    arguments = started_flink.beam_args(started_flink.slots)
    step = single_step.evaluator(tmp_path_factory.mktemp('evaluator'), arguments, shared)
    step.run()
    return step


@pytest.mark.short
def test_evaluator_on_all_slots_comes_to_its_end(evaluated: Step, shared: pathlib.Path) -> None:
    assert single_step.report(evaluated)['examples'] == 359
    assert left_on(shared) == []


def test_evaluator_on_all_slots_writes_the_report_of_the_direct_runner(
    evaluated: Step, tmp_path: pathlib.Path
) -> None:
    direct = single_step.evaluator(tmp_path, BEAM_ARGS)
    direct.run()
    assert single_step.report(evaluated) == single_step.report(direct)


def test_sharded_calibration_makes_the_bytes_of_the_direct_runner(
    flink: FlinkCluster, shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    direct = single_step.calibration(tmp_path / 'direct', BEAM_ARGS)
    direct.run()
    for parallelism in (1, flink.slots):
        folder = tmp_path / f'parallelism-{parallelism}'
        elsewhere = single_step.calibration(folder, flink.beam_args(parallelism), shared)
        elsewhere.run()
        assert single_step.tflite(elsewhere) == single_step.tflite(direct)
        assert left_on(shared) == []
