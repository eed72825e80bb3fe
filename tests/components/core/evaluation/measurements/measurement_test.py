"""What measurements are made from, and what they read back."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.contenders.evaluation_setup import prepare
from tfx_edge.components.core.evaluation.gates.limits import LIMITS
from tfx_edge.components.core.evaluation.gates.rules import Rules
from tfx_edge.components.core.evaluation.measurements.measurement import (
    Demands,
    Finding,
    Measurement,
    Setting,
)
from tfx_edge.components.core.examples.example_parser import ExampleParser


@pytest.fixture
def setting(quantized, images, tmp_path: pathlib.Path) -> Setting:
    (tmp_path / 'tflite').write_bytes(quantized(images[:8]))
    spec = tfma.ModelSpec(label_key='label')
    metrics = tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name='ExampleCount')])
    config = tfma.EvalConfig(model_specs=[spec], metrics_specs=[metrics])
    evaluation = prepare(config, str(tmp_path), None)
    demands = Demands({'max_file_bytes': 5, 'min_agreement': None}, Rules(bless_undecided=True))
    return Setting(
        evaluation, demands, evaluation.config, ExampleParser(evaluation.inputs), (), str(tmp_path)
    )


class Words(Measurement):
    """Counts the words of a file."""

    def read(self) -> Finding:
        return Finding(figures={'words': {'count': self.taken('words.txt', lambda text: len(text.split()))}})


def test_what_is_not_demanded_has_no_limit(setting: Setting) -> None:
    limits = {limit.field: setting.limit(limit) for limit in LIMITS}
    assert limits == {field: 5 if field == 'max_file_bytes' else None for field in limits}


def test_what_is_undecided_beside_a_baseline_is_a_mistake_in_the_configuration(setting: Setting) -> None:
    assert setting.undecided_holds
    evaluation = setting.evaluation
    beside = dataclasses.replace(evaluation, baseline=evaluation.candidate)
    assert not dataclasses.replace(setting, evaluation=beside).undecided_holds
    assert not dataclasses.replace(setting, demands=Demands()).undecided_holds


def test_a_file_that_was_read_is_not_left(setting: Setting) -> None:
    words = pathlib.Path(setting.folder, 'words.txt')
    words.write_text('one two three')
    assert Words(setting).read().figures == {'words': {'count': 3}}
    assert not words.exists()
