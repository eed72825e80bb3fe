"""The value of each example: its mean is what TFMA reports."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2  # TFMA 0.52 does not export every message

from tfx_edge.components.core.evaluation.metrics.example_values import KINDS, ExampleMetric

SIZE = 120


def scores(seed: int, classes: int = 7) -> np.ndarray:
    """Logits with ties, and some that are sure of themselves."""
    drawn = np.random.default_rng(seed).normal(0, 3, (SIZE, classes))
    return np.round(np.where(np.arange(SIZE)[:, np.newaxis] % 5 == 0, 8 * drawn, drawn), 1).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


CLASSES = np.random.default_rng(9).integers(0, 7, (SIZE, 1))
ONE_HOT = (np.arange(7) == CLASSES).astype(np.float32)
BITS = np.random.default_rng(8).integers(0, 2, (SIZE, 1))
LOGITS = scores(1)
PROBABILITIES = softmax(LOGITS)
CHANCES = softmax(scores(2, 2))[:, :1]
QUANTIZED = (np.round(PROBABILITIES * 256) / 256).astype(np.float32)  # many zeros, sums other than 1

CASES = {
    'class and probabilities': (
        CLASSES,
        PROBABILITIES,
        [
            ('SparseCategoricalAccuracy', {}),
            ('SparseTopKCategoricalAccuracy', {'k': 3}),
            ('SparseTopKCategoricalAccuracy', {}),
            ('SparseCategoricalCrossentropy', {}),
            ('MeanSquaredError', {}),
        ],
    ),
    'class and quantized probabilities': (
        CLASSES,
        QUANTIZED,
        [
            ('SparseCategoricalAccuracy', {}),
            ('SparseTopKCategoricalAccuracy', {'k': 2}),
            ('SparseCategoricalCrossentropy', {}),
        ],
    ),
    'class and logits': (
        CLASSES,
        LOGITS,
        [('SparseCategoricalCrossentropy', {'from_logits': True}), ('SparseCategoricalAccuracy', {})],
    ),
    'one-hot and probabilities': (
        ONE_HOT,
        QUANTIZED,
        [
            ('CategoricalAccuracy', {}),
            ('TopKCategoricalAccuracy', {'k': 2}),
            ('CategoricalCrossentropy', {}),
            ('CategoricalCrossentropy', {'label_smoothing': 0.1}),
            ('BinaryAccuracy', {'threshold': 0.25}),
            ('BinaryCrossentropy', {}),
            ('MeanAbsoluteError', {}),
        ],
    ),
    'one-hot and logits': (
        ONE_HOT,
        LOGITS,
        [
            ('CategoricalCrossentropy', {'from_logits': True}),
            ('BinaryCrossentropy', {'from_logits': True, 'label_smoothing': 0.2}),
        ],
    ),
    'one number': (
        BITS,
        CHANCES,
        [
            ('BinaryAccuracy', {}),
            ('BinaryCrossentropy', {}),
            ('MeanSquaredError', {}),
            ('MeanAbsoluteError', {}),
        ],
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_the_mean_is_what_tfma_reports(case):
    labels, predictions, metrics = CASES[case]
    configs = [
        config_pb2.MetricConfig(
            class_name=name,
            config=json.dumps(settings if KINDS[name].settings == {} else {'name': f'm{number}', **settings}),
        )
        for number, (name, settings) in enumerate(metrics)
    ]
    config = config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key='label', prediction_key='prediction')],
        metrics_specs=[config_pb2.MetricsSpec(metrics=configs)],
    )
    frame = pd.DataFrame({'label': list(labels), 'prediction': list(predictions)})
    ((_, found),) = tfma.analyze_raw_data(frame, config).slicing_metrics
    reported = [value['doubleValue'] for value in found[''][''].values()]
    ours = [
        np.mean([ExampleMetric(name, settings)(*row) for row in zip(labels, predictions, strict=True)])
        for name, settings in metrics
    ]
    assert len(reported) == len(ours)
    assert sorted(ours) == pytest.approx(sorted(reported), abs=1e-6, rel=1e-6)


def test_every_metric_is_among_those_compared_with_tfma():
    assert {name for _, _, metrics in CASES.values() for name, _ in metrics} == set(KINDS)


@pytest.mark.parametrize('name', KINDS)
def test_an_answer_of_nan_is_wrong_and_its_loss_no_number(name):
    value = ExampleMetric(name)(np.array([0.0, 1.0]), np.array([np.nan, 0.5]))
    assert np.isnan(value) if KINDS[name].is_loss else value == 0.0


def test_of_several_labels_in_one_example_some_may_be_right():
    several = ExampleMetric('BinaryAccuracy')
    assert several(np.array([1, 0, 1, 1]), np.array([0.9, 0.9, 0.9, 0.1])) == 0.5
    assert not several.is_share(4)
    assert not several.is_share(None)
    assert several.is_share(1)
    assert ExampleMetric('SparseCategoricalAccuracy').is_share(4)
    assert not ExampleMetric('MeanSquaredError').is_share(1)
