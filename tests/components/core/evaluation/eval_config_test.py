"""What EdgeEvaluator takes of TFMA's EvalConfig."""

from __future__ import annotations

import pytest
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import eval_config as configuration


def config(*specs: tfma.ModelSpec, metrics: bool = True) -> tfma.EvalConfig:
    accuracy = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
    accuracy.threshold.change_threshold.absolute.value = -0.01
    return tfma.EvalConfig(
        model_specs=specs,
        metrics_specs=[tfma.MetricsSpec(metrics=[accuracy])] if metrics else [],
    )


def test_an_unnamed_spec_stands_for_candidate_and_baseline():
    completed = configuration.complete_eval_config(config(tfma.ModelSpec(label_key='y')), has_baseline=True)
    assert configuration.candidate_spec(completed).name == tfma.CANDIDATE_KEY
    assert configuration.baseline_spec(completed).name == tfma.BASELINE_KEY
    assert configuration.named_features(completed) == {'y': 'ModelSpec.label_key'}


def test_without_baseline_change_thresholds_are_taken_out():
    completed = configuration.complete_eval_config(config(tfma.ModelSpec(label_key='y')), has_baseline=False)
    assert configuration.candidate_spec(completed).name == ''
    assert configuration.baseline_spec(completed) is None
    assert not tfma.utils.has_change_threshold(completed)


def test_names_of_the_user_are_kept():
    specs = [tfma.ModelSpec(name='new'), tfma.ModelSpec(name='old', is_baseline=True)]
    configuration.check_eval_config(config(*specs), has_baseline=True)
    completed = configuration.complete_eval_config(config(*specs), has_baseline=True)
    assert configuration.candidate_spec(completed).name == 'new'
    assert configuration.baseline_spec(completed).name == 'old'


@pytest.mark.parametrize(
    ('specs', 'match'),
    [
        ([tfma.ModelSpec(name=n) for n in 'abc'], '3 model_specs'),
        ([tfma.ModelSpec(name=n) for n in 'ab'], 'set is_baseline in exactly one'),
        ([tfma.ModelSpec(is_baseline=True)], 'the only ModelSpec of eval_config is the baseline'),
        ([tfma.ModelSpec(name='candidate')], 'leaves out the baseline'),
        ([tfma.ModelSpec(model_type='tf_js')], "model_type is 'tf_js'"),
        ([tfma.ModelSpec(preprocessing_function_names=['tft_layer'])], 'give transform_graph instead'),
        ([tfma.ModelSpec(inference_batch_size=4)], 'inference_batch_size does not apply'),
        ([tfma.ModelSpec(label_key='a', label_keys={'x': 'b'})], 'TFMA refuses eval_config'),
    ],
)
def test_what_would_be_left_undone_is_refused_in_one_line(specs, match):
    with pytest.raises(EdgeError, match=match) as caught:
        configuration.check_eval_config(config(*specs), has_baseline=True)
    assert '\n' not in str(caught.value)


def test_a_configuration_without_metrics_is_refused():
    with pytest.raises(EdgeError, match='eval_config has no metrics'):
        configuration.check_eval_config(config(metrics=False), has_baseline=False)


@pytest.mark.parametrize(('name', 'settings'), [('SparseCategoricalAcuracy', ''), ('Accuracy', '{"bad": 3}')])
def test_a_metric_that_does_not_exist_is_refused(name, settings):
    metric = tfma.MetricConfig(class_name=name, config=settings)
    misspelt = tfma.EvalConfig(metrics_specs=[tfma.MetricsSpec(metrics=[metric])])
    with pytest.raises(EdgeError, match='TFMA refuses eval_config') as caught:
        configuration.check_eval_config(misspelt, has_baseline=False)
    assert '\n' not in str(caught.value)
