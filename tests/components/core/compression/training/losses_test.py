"""What AUTO takes an output for, and what the distances are worth."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training import losses
from tfx_edge.components.core.errors import NotFiniteError

from ..conftest import open_graph


def _target(comparison: str, is_logits: bool = True) -> losses.OutputTarget:
    return losses.OutputTarget('y', comparison, 'y:0', is_logits)


def test_auto_reads_a_softmax_off_the_graph_and_takes_a_linear_output_for_a_regression(
    digits_saved_model: pathlib.Path, module_saved_model: pathlib.Path, digits: dict[str, np.ndarray]
) -> None:
    batch = {'image': digits['x_eval'][:8]}
    (softmax,) = losses.output_targets(open_graph(str(digits_saved_model)), 'AUTO', batch)
    assert (softmax.comparison, softmax.is_logits) == (losses.SOFTMAX, True)
    linear = open_graph(str(module_saved_model))
    (squared,) = losses.output_targets(linear, 'AUTO', batch)
    assert squared.comparison == losses.SQUARED
    (logits,) = losses.output_targets(linear, 'LOGITS', batch)
    assert (logits.comparison, logits.is_logits) == (losses.SOFTMAX, True)


@pytest.mark.parametrize('comparison', [losses.SOFTMAX, losses.SIGMOID, losses.SQUARED])
def test_distillation_is_least_where_the_student_is_the_teacher(comparison: str) -> None:
    random = np.random.default_rng(0)
    teacher = tf.constant(random.normal(size=(16, 5)), tf.float32)
    same = losses.distillation(_target(comparison), teacher, teacher, 2.0)
    other = losses.distillation(
        _target(comparison), teacher, teacher + tf.constant(random.normal(size=(16, 5)), tf.float32), 2.0
    )
    assert float(same) < float(other)


def test_distillation_of_probabilities_is_that_of_their_logits() -> None:
    random = np.random.default_rng(0)
    teacher, student = (tf.constant(random.normal(size=(16, 5)), tf.float32) for _ in range(2))
    of_logits = losses.distillation(_target(losses.SOFTMAX), teacher, student, 3.0)
    of_rows = losses.distillation(
        _target(losses.SOFTMAX, is_logits=False), tf.nn.softmax(teacher), tf.nn.softmax(student), 3.0
    )
    assert float(of_logits) == pytest.approx(float(of_rows), rel=1e-4)


def test_a_model_that_answers_nan_has_nothing_to_teach(module_saved_model: pathlib.Path) -> None:
    images = np.full((8, 8, 8, 1), 0.5, np.float32)
    images[[2, 5]] = np.nan
    with pytest.raises(
        NotFiniteError, match=r"output '\w+' of the incoming model is NaN .* on 2 of the first 8"
    ):
        losses.output_targets(open_graph(str(module_saved_model)), 'AUTO', {'image': images})
