"""Which metrics need probabilities, by the settings that their classes have."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
import tf_keras
from tensorflow_model_analysis.metrics.metric_types import registered_metrics

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators.output_limits import Limits, limits_of
from tfx_edge.components.core.evaluation.measurements.fitting_metrics import (
    fit_metrics,
    needs_limits,
    require_fit,
)
from tfx_edge.components.core.evaluation.metrics.metric_classes import metric_class
from tfx_edge.components.core.evaluation.metrics.rank_metric import RankMetric, spread
from tfx_edge.components.core.evaluation.metrics.score_metrics import Need, need_of

_LOGITS = {'': Limits(-3.0, 4.0)}
_ONE, _THREE = {'': (None, 1)}, {'': (None, 3)}


def _config(name: str, settings: str = '', **spec: object) -> tfma.EvalConfig:
    metric = tfma.MetricConfig(class_name=name, config=settings)
    return tfma.EvalConfig(metrics_specs=[tfma.MetricsSpec(metrics=[metric], **spec)])


def _need(name: str, settings: str = '') -> Need:
    metric = tfma.MetricConfig(class_name=name, config=settings)
    cls = metric_class(metric)
    assert cls is not None
    return need_of(metric, cls)[0]


@pytest.mark.parametrize(
    ('name', 'settings', 'need'),
    [
        ('AUC', '', Need.RANK),
        ('AUC', '"curve": "PR", "num_thresholds": 500', Need.RANK),
        ('AUC', '"thresholds": [-1.0, 0.0, 1.0]', Need.NUMBERS),
        ('SpecificityAtSensitivity', '"sensitivity": 0.5', Need.RANK),
        ('Recall', '', Need.THRESHOLD),
        ('Recall', '"thresholds": 0.0', Need.NUMBERS),
        ('Recall', '"top_k": 2', Need.NUMBERS),
        ('BinaryAccuracy', '"threshold": 0.0', Need.NUMBERS),
        ('SparseCategoricalCrossentropy', '', Need.PROBABILITIES),
        ('SparseCategoricalCrossentropy', '"from_logits": true', Need.NUMBERS),
        ('CategoricalCrossEntropy', '', Need.PROBABILITIES),
        ('CalibrationPlot', '"left": -4, "right": 4', Need.NUMBERS),
        ('CalibrationPlot', '', Need.PROBABILITIES),
        ('KLDivergence', '', Need.PROBABILITIES),
        ('SparseCategoricalAccuracy', '', Need.NUMBERS),
        ('FBetaScore', '', Need.NUMBERS),
        ('Prevalence', '', Need.NUMBERS),
        ('ObjectDetectionPrecision', '', Need.NUMBERS),
    ],
)
def test_the_need_follows_from_class_and_settings(name: str, settings: str, need: Need) -> None:
    assert _need(name, settings) is need


def test_no_metric_of_thresholds_or_logits_is_overlooked() -> None:
    """New ones of TFMA or Keras have the settings by which they are known."""
    metrics = {
        **registered_metrics(),
        **{n: c for n, c in vars(tf_keras.metrics).items() if inspect.isclass(c)},
    }
    for name, cls in metrics.items():
        settings = inspect.signature(cls).parameters
        of_boxes = name.startswith(('ObjectDetection', 'COCO'))
        if 'from_logits' in settings or ('num_thresholds' in settings and not of_boxes):
            assert _need(name) is not Need.NUMBERS, name


def test_rank_is_computed_on_a_single_score_and_refused_on_several() -> None:
    config = _config('AUC', '"name": "mine", "curve": "PR"')
    metric = fit_metrics(config, _LOGITS, _ONE).metrics_specs[0].metrics[0]
    assert metric.class_name == 'RankMetric'
    (key,) = tfma.metrics.metric_thresholds_from_metrics_specs([_thresholded(metric)])
    assert key.name == 'mine'
    with pytest.raises(
        EdgeError, match=r"metric 'AUC' .* reaches from -3 to 4; expected numbers from 0 to 1"
    ):
        fit_metrics(config, _LOGITS, _THREE)


def _thresholded(metric: tfma.MetricConfig) -> tfma.MetricsSpec:
    metric.threshold.value_threshold.lower_bound.value = 0.5
    return tfma.MetricsSpec(metrics=[metric])


def test_top_k_of_several_scores_needs_no_probabilities() -> None:
    config = _config('Precision', binarize=tfma.BinarizationOptions(top_k_list={'values': [1]}))
    assert fit_metrics(config, _LOGITS, _THREE) == config


@pytest.mark.parametrize('limits', [Limits(0.0, 1.0), Limits(-0.002, 1.0039), Limits()])
def test_probabilities_change_nothing(limits: Limits) -> None:
    config = _config('AUC')
    assert needs_limits(config)
    assert fit_metrics(config, {'': limits}, _ONE) == config
    require_fit(config, config, {'candidate': {'': limits}})


def test_only_the_outputs_that_a_metric_reads_count() -> None:
    config = _config('Recall', output_names=['p'])
    shapes = {'p': (None, 1), 'logit': (None, 1)}
    assert fit_metrics(config, {'p': Limits(0.1, 0.9), 'logit': Limits(-9, 9)}, shapes) == config
    with pytest.raises(EdgeError, match="output 'p' of the model"):
        fit_metrics(config, {'p': Limits(-9, 9), 'logit': Limits(0.1, 0.9)}, shapes)


def test_a_baseline_that_answers_otherwise_is_refused_after_the_run() -> None:
    config = _config('BinaryCrossentropy')
    reached = {'candidate': {'': Limits(0.1, 0.9)}, 'baseline': {'': Limits(-7.0, 3.0)}}
    with pytest.raises(EdgeError, match=r'reaches from -7 to 3.*"from_logits": true'):
        require_fit(config, config, reached)


def test_a_metric_keeps_its_name_and_settings_when_made_again() -> None:
    again = RankMetric.from_config(RankMetric('AUC', {'curve': 'PR'}).get_config())
    assert again.get_config() == {'class_name': 'AUC', 'settings': {'curve': 'PR'}, 'name': 'auc'}


def test_spread_scores_keep_their_order() -> None:
    scores = np.array([-1e9, -1e5, -20, -20 * 0.99, -1e-2, 0, 1e-2, 1, 20, 20.2, 1e5, 1e9])
    values = spread(scores)
    assert values[0] == 0
    assert values[-1] == 1
    assert (np.diff(values) > 1e-4).sum() >= len(scores) - 2


def test_limits_leave_out_what_is_no_number() -> None:
    assert limits_of(np.array([0.5, np.nan, -np.inf, 2])) == Limits(0.5, 2.0)
    assert limits_of(np.array([b'text'])) == Limits()
