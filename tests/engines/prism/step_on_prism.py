"""Steps on Beam's Prism: what comes out is what the direct runner makes."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pytest

from tests.engines import single_step
from tfx_edge.pipelines.local import BEAM_ARGS


@pytest.mark.short
def test_sharded_calibration_makes_the_bytes_of_the_direct_runner(
    prism: Sequence[str], shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    elsewhere = single_step.calibration(tmp_path / 'prism', prism, shared)
    elsewhere.run()
    assert list(shared.iterdir()) == []
    direct = single_step.calibration(tmp_path / 'direct', BEAM_ARGS)
    direct.run()
    assert single_step.tflite(elsewhere) == single_step.tflite(direct)


def test_evaluator_writes_the_report_of_the_direct_runner(
    prism: Sequence[str], shared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    elsewhere = single_step.evaluator(tmp_path / 'prism', prism, shared)
    elsewhere.run()
    assert list(shared.iterdir()) == []
    direct = single_step.evaluator(tmp_path / 'direct', BEAM_ARGS)
    direct.run()
    assert single_step.report(elsewhere) == single_step.report(direct)
