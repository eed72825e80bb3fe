"""What metrics take for labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.label_check import LabelCheck, label_checks


def _checks(metric: str, width: int = 3, config: str = '', **spec: Any) -> tuple[LabelCheck, ...]:
    metrics = [tfma.MetricConfig(class_name=metric, config=config)]
    made = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(**(spec or {'label_key': 'y'}))],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics, output_names=list(spec.get('label_keys', [])))],
    )
    outputs = spec.get('label_keys') or ['']
    return label_checks(made, dict.fromkeys(outputs, (None, width)))


@pytest.mark.parametrize(
    ('metric', 'labels', 'match'),
    [
        ('SparseCategoricalAccuracy', [[-1]], "label 'y' is -1 in an example"),
        ('SparseTopKCategoricalAccuracy', [[0], [3]], "label 'y' is 3 .* expected 0 to 2"),
        ('SparseCategoricalCrossentropy', [[0, 1]], 'holds 2 values in each example, but .* takes 1;'),
        ('CategoricalAccuracy', [[7]], "label 'y' is 7 in an example"),
        ('CategoricalCrossentropy', [[0, 1]], 'holds 2 values in each example, but .* takes 1 or 3'),
        ('AUC', [[b'cat']], "holds texts, such as 'cat'"),
        ('MeanSquaredError', [[np.nan]], "label 'y' holds NaN"),
    ],
)
def test_labels_that_a_metric_cannot_take_are_named(metric: str, labels: Any, match: str) -> None:
    (check,) = _checks(metric)
    with pytest.raises(EdgeError, match=match):
        check({'y': np.array(labels)})


@pytest.mark.parametrize(
    ('metric', 'labels'),
    [
        ('SparseCategoricalAccuracy', [[0], [2]]),
        ('CategoricalAccuracy', [[0, 0, 1]]),
        ('CategoricalAccuracy', [[2]]),
        ('BinaryAccuracy', [[0, 1, 1]]),
        ('MeanSquaredError', [[0.5, -3.0, 7.0]]),
    ],
)
def test_labels_that_fit_pass(metric: str, labels: Any) -> None:
    (check,) = _checks(metric)
    check({'y': np.array(labels)})


def test_what_is_not_dense_or_not_there_is_left_to_others() -> None:
    (check,) = _checks('SparseCategoricalAccuracy')
    check({})
    check({'y': np.array([None], object)})


def test_each_output_has_its_label() -> None:
    found = _checks('MeanSquaredError', label_keys={'a': 'x', 'b': 'y'})
    assert [(check.feature, check.values) for check in found] == [('x', 3), ('y', 3)]


def test_metrics_that_read_no_label_are_not_checked() -> None:
    assert not _checks('ExampleCount')
