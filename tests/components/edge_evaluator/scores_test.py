"""Metrics that need probabilities, on models that answer with logits or other scores."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tests.components.edge_evaluator.conftest import write_examples
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

pytestmark = pytest.mark.slow

_SIZE = 400
_random = np.random.default_rng(3)
_LABELS = _random.integers(0, 2, _SIZE)
_NOISE = _random.normal(size=_SIZE)
_WEIGHTS = np.where(_NOISE > 0, 5.0, 1.0).astype(np.float32)


class _Echo(tf.Module):
    """Answers with what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.eye(width))

    def save(self, folder: str) -> None:
        spec = tf.TensorSpec((None, self.kernel.shape[0]), tf.float32, name='x')
        function = tf.function(lambda x: {'score': tf.matmul(x, self.kernel)}, input_signature=[spec])
        tf.saved_model.save(self, folder, signatures={'predict': function})


@pytest.fixture(scope='module')
def echo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], bytes]:
    files: dict[int, bytes] = {}

    def make(width: int) -> bytes:
        if width not in files:
            folder = str(tmp_path_factory.mktemp('echo') / 'model')
            _Echo(width).save(folder)
            files[width] = convert_saved_model(folder, 'predict')
        return files[width]

    return make


@pytest.fixture
def measure(evaluate: Any, as_tflite_model: Any, as_examples: Any, echo: Any, tmp_path: pathlib.Path) -> Any:
    """Evaluates the model that answers with `scores`."""

    def run(scores: np.ndarray, *metrics: tuple[str, str], labels: np.ndarray = _LABELS, **spec: Any) -> Any:
        rows = np.asarray(scores, np.float32).reshape(len(scores), -1)
        examples = [
            {'x': row, 'y': label, 'w': weight}
            for row, label, weight in zip(rows, labels, _WEIGHTS, strict=False)
        ]
        write_examples(tmp_path / 'examples' / 'Split-eval', examples)
        made = [tfma.MetricConfig(class_name=name, config=config) for name, config in metrics]
        config = tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(label_key='y', **spec)],
            metrics_specs=[tfma.MetricsSpec(metrics=made)],
        )
        return evaluate(
            as_tflite_model(echo(rows.shape[1])), as_examples(tmp_path / 'examples', ['eval']), config
        )

    return run


@pytest.mark.parametrize(
    ('scores', 'weighted'),
    [
        pytest.param(2 * _LABELS - 1 + _NOISE, True, id='logits'),
        pytest.param(14 + 0.5 * _LABELS + 0.5 * _NOISE, False, id='sure logits'),
        pytest.param(1000 + 50 * _LABELS + 50 * _NOISE, True, id='large scores'),
        pytest.param(-0.5 * np.exp(_NOISE - _LABELS), False, id='negative scores'),
    ],
)
def test_what_goes_by_rank_is_right_on_any_scores(measure: Any, scores: np.ndarray, weighted: bool) -> None:
    spec = {'example_weight_key': 'w'} if weighted else {}
    metrics = ('AUC', ''), ('AUCPrecisionRecall', ''), ('RecallAtPrecision', '"precision": 0.8')
    outcome = measure(scores, *metrics, **spec)
    weights = _WEIGHTS if weighted else None
    scores = scores.astype(np.float32)
    exact = sklearn.metrics.roc_auc_score(_LABELS, scores, sample_weight=weights)
    assert outcome.metric('auc') == pytest.approx(exact, abs=2e-3)
    exact = sklearn.metrics.average_precision_score(_LABELS, scores, sample_weight=weights)
    assert outcome.metric('auc_precision_recall') == pytest.approx(exact, abs=2e-2)
    precisions, recalls, _ = sklearn.metrics.precision_recall_curve(_LABELS, scores, sample_weight=weights)
    assert outcome.metric('recall_at_precision') == pytest.approx(recalls[precisions >= 0.8].max(), abs=5e-2)


def test_a_threshold_for_logits_stands_beside_rank(measure: Any) -> None:
    logits = 2 * _LABELS - 1 + _NOISE
    outcome = measure(
        logits,
        ('AUC', ''),
        ('Precision', '"thresholds": [0.0]'),
        ('BinaryCrossentropy', '"from_logits": true'),
    )
    assert outcome.metric('precision') == pytest.approx(_LABELS[logits > 0].mean(), abs=1e-6)
    losses = np.logaddexp(0, logits) - logits * _LABELS
    assert outcome.metric('binary_crossentropy') == pytest.approx(losses.mean(), abs=1e-4)


@pytest.mark.parametrize(
    ('metric', 'remedy'),
    [
        ('Precision', r'or set "thresholds" in its config \(\[0.0\] for logits\)'),
        ('BinaryAccuracy', r'or set "threshold" in its config \(0.0 for logits\)'),
        ('F1Score', 'or set "thresholds"'),
        ('BinaryCrossentropy', 'or set "from_logits": true in its config'),
        ('BinaryCrossEntropy', 'or set "from_logits": true in its config'),
        ('Calibration', r'sigmoid or softmax into the signature\.'),
        ('ConfusionMatrixPlot', r'sigmoid or softmax into the signature\.'),
    ],
)
def test_what_needs_probabilities_is_refused_on_logits(measure: Any, metric: str, remedy: str) -> None:
    match = rf"metric '{metric}' of eval_config .* which reaches from -\d.* to \d.*; expected .*{remedy}"
    with pytest.raises(EdgeError, match=match):
        measure(2 * _LABELS - 1 + _NOISE, (metric, ''))


@pytest.mark.parametrize('metric', ['AUC', 'SparseCategoricalCrossentropy'])
def test_several_scores_that_are_no_probabilities_are_refused(measure: Any, metric: str) -> None:
    with pytest.raises(EdgeError, match=f"metric '{metric}' .*expected numbers from 0 to 1"):
        measure(np.stack([_NOISE, -_NOISE, _NOISE * 2], 1), (metric, ''))


def test_scores_that_leave_0_to_1_later_on_are_refused_all_the_same(measure: Any) -> None:
    scores = np.clip(0.5 + 0.1 * _NOISE, 0, 1)
    scores[-1] = 3.0
    with pytest.raises(EdgeError, match=r"metric 'AUC' .* which reaches from 0\.\d+ to 3;"):
        measure(scores, ('AUC', ''))


def test_probabilities_are_measured_as_ever(measure: Any) -> None:
    scores = 1 / (1 + np.exp(-(2 * _LABELS - 1 + _NOISE)))
    outcome = measure(scores, ('AUC', ''), ('Calibration', ''), ('Precision', ''))
    assert outcome.metric('auc') == pytest.approx(sklearn.metrics.roc_auc_score(_LABELS, scores), abs=1e-3)
    assert outcome.metric('precision') == pytest.approx(_LABELS[scores > 0.5].mean(), abs=1e-6)


@pytest.mark.parametrize(
    ('metric', 'label', 'match'),
    [
        (
            'SparseCategoricalAccuracy',
            3,
            "label 'y' is 3 in an example, but .* one of 3 classes; expected 0 to 2",
        ),
        (
            'MeanSquaredError',
            np.array([0, 1]),
            "label 'y' holds 2 values in each example, but .* takes 1 or 3",
        ),
    ],
)
def test_labels_that_a_metric_cannot_take_are_named(
    measure: Any, metric: str, label: Any, match: str
) -> None:
    with pytest.raises(EdgeError, match=match):
        measure(_random.uniform(0.1, 1.0, (4, 3)), (metric, ''), labels=[label] * 4)


def test_an_ignored_class_is_no_fault(measure: Any) -> None:
    scores = np.eye(3)[[0, 1, 2, 0]]
    metric = ('SparseCategoricalCrossentropy', '"ignore_class": -1')
    outcome = measure(scores, metric, labels=np.array([0, 1, 2, -1]))
    assert outcome.metric('sparse_categorical_crossentropy') == pytest.approx(0, abs=1e-5)
