"""TFMA's metrics of every kind of `.tflite` file equal a plain loop over LiteRT's interpreter and scikit-learn."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from sklearn.metrics import accuracy_score, roc_auc_score

from tests.components.edge_evaluator.conftest import write_examples
from tests.components.edge_evaluator.plain_loop import cross_entropy, plain_loop

pytestmark = pytest.mark.slow

INTEGER = {
    'int8': ('INT8', 'FLOAT'),
    'int8 I/O': ('INT8', 'INT8'),
    'uint8 I/O': ('INT8', 'UINT8'),
    'int16': ('INT16X8', 'FLOAT'),
}
# Half as bright as those that are evaluated, which so reach far beyond the calibrated range: where whoever runs the
# file makes its integers, they must be clipped.
DARK = ', calibrated on dark images'
CLIPPED = ('int8 I/O', 'uint8 I/O')
# The digit whose AUC is taken: scores of 8 overlap with those of others more than any digit's.
DIGIT = 8
COUNT = 120


@pytest.fixture(scope='module')
def files(
    quantize: Callable[..., bytes], float_tflite: bytes, digits: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """A file of each kind; those with integer inputs also calibrated on dark images."""
    images = digits['x_train'][:200]
    made = {'float': float_tflite, 'dynamic': quantize(images[:1], mode='DYNAMIC_INT8')}
    for kind, (mode, io) in INTEGER.items():
        made[kind] = quantize(images, io, mode)
        if kind in CLIPPED:
            made[kind + DARK] = quantize(images * np.float32(0.5), io, mode)
    return made


@pytest.fixture(scope='module')
def examples(digits: Mapping[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('examples')
    rows = [
        {'image': image, 'label': label}
        for image, label in zip(digits['x_eval'][:COUNT], digits['y_eval'][:COUNT], strict=True)
    ]
    write_examples(folder / 'Split-eval', rows)
    return folder


@pytest.mark.parametrize('kind', ['float', 'dynamic', *INTEGER, *(kind + DARK for kind in CLIPPED)])
def test_metrics_equal_a_plain_loop_over_the_interpreter(
    evaluate, as_tflite_model, as_examples, examples, digits, files, kind
):
    labels, scores = digits['y_eval'][:COUNT], plain_loop(files[kind], digits['x_eval'][:COUNT])
    # The dark images did cut the ranges off.
    assert (cross_entropy(labels, scores) > 0.5) == kind.endswith(DARK)
    expected = {
        'sparse_categorical_accuracy': accuracy_score(labels, scores.argmax(1)),
        'sparse_categorical_crossentropy': cross_entropy(labels, scores),
        'auc': roc_auc_score(labels == DIGIT, scores[:, DIGIT].astype(np.float64)),
    }
    outcome = evaluate(
        as_tflite_model(files[kind]), as_examples(examples, ['eval']), metrics(scores[:, DIGIT])
    )
    found = {metric: outcome.metric(metric) for metric in expected}
    assert found == pytest.approx(expected, rel=0, abs=1e-6)


def metrics(scores: np.ndarray) -> tfma.EvalConfig:
    """Accuracy, cross-entropy, and the AUC of one digit, whose scores are given, against the others.

    TFMA's AUC sorts scores into bins of 1/10000, within which it cannot distinguish two; here each has its own.
    """
    distinct = np.unique(scores.astype(np.float64))
    thresholds = [-1.0, *((distinct[1:] + distinct[:-1]) / 2).tolist(), 2.0]
    listed: list[Any] = [
        tfma.MetricConfig(class_name='SparseCategoricalAccuracy'),
        tfma.MetricConfig(class_name='SparseCategoricalCrossentropy'),
        tfma.MetricConfig(class_name='AUC', config=f'"class_id": {DIGIT}, "thresholds": {thresholds}'),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')], metrics_specs=[tfma.MetricsSpec(metrics=listed)]
    )
