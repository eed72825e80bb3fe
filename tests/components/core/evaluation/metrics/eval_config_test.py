"""What EdgeEvaluator takes of TFMA's EvalConfig."""

from __future__ import annotations

import pytest
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics import eval_config as configuration


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


def test_functions_of_a_saved_model_give_way_to_a_transform_graph(caplog):
    given = config(tfma.ModelSpec(preprocessing_function_names=['transform_features'], label_key='y_xf'))
    configuration.check_eval_config(given, has_baseline=True, has_transform_graph=True)
    with caplog.at_level('INFO'):
        changed = configuration.without_model_functions(given)
    assert [spec.preprocessing_function_names for spec in changed.model_specs] == [[]]
    assert changed.model_specs[0].label_key == 'y_xf'
    assert 'transform_features' in caplog.text


@pytest.mark.parametrize(
    ('specs', 'match'),
    [
        ([tfma.ModelSpec(name=n) for n in 'abc'], '3 model_specs'),
        ([tfma.ModelSpec(name=n) for n in 'ab'], 'set is_baseline in exactly one'),
        ([tfma.ModelSpec(is_baseline=True)], 'the only ModelSpec of eval_config is the baseline'),
        ([tfma.ModelSpec(name='candidate')], 'leaves out the baseline'),
        ([tfma.ModelSpec(model_type='tf_js')], "model_type is 'tf_js'"),
        (
            [tfma.ModelSpec(preprocessing_function_names=['tft_layer'])],
            'give transform_graph, which then makes labels',
        ),
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


def _metric_specs(*specs: tfma.MetricsSpec) -> tfma.EvalConfig:
    return tfma.EvalConfig(metrics_specs=specs)


def _one(name: str, settings: str = '', module: str = '', **spec) -> tfma.EvalConfig:
    metric = tfma.MetricConfig(class_name=name, config=settings, module=module)
    return _metric_specs(tfma.MetricsSpec(metrics=[metric], **spec))


_THRESHOLD = tfma.MetricThreshold(value_threshold={'lower_bound': {'value': 0.5}})


@pytest.mark.parametrize(
    ('faulty', 'match'),
    [
        (_one('SparseCategoricalAcuracy'), r'did you mean SparseCategoricalAccuracy'),
        (_one('Auc'), r"metric 'Auc' is none of TFMA or Keras"),
        (
            _one('Acuracy', module='tf_keras.metrics'),
            r"module 'tf_keras.metrics' has no metric 'Acuracy' \(did you mean",
        ),
        (_one(''), 'a metric of eval_config has no class_name'),
        (
            _one('AUC', '"from_logits": true'),
            r"sets 'from_logits', which it does not take \(it takes num_thresholds",
        ),
        (_one('AUC', '{"curve": "ROC"'), 'which is no JSON'),
        (_one('AUC', '"curve": ROC'), 'which is no JSON'),
        (
            _metric_specs(tfma.MetricsSpec(), *_one('AUC').metrics_specs),
            r'metrics_specs\[0\] of eval_config has no metrics',
        ),
        (
            _one('AUC', thresholds={'AUC': _THRESHOLD}),
            r"metrics_specs\[0\] .* threshold for 'AUC', which is none of its metrics \(auc\)",
        ),
    ],
)
def test_faults_of_metrics_are_reported_by_name(faulty, match):
    with pytest.raises(EdgeError, match=match) as caught:
        configuration.check_eval_config(faulty, has_baseline=False)
    assert '\n' not in str(caught.value)


def test_a_threshold_by_the_name_of_a_metric_is_taken():
    configuration.check_eval_config(_one('AUC', thresholds={'auc': _THRESHOLD}), has_baseline=False)
    named = _one('AUC', '"name": "mine"', thresholds={'mine': _THRESHOLD})
    configuration.check_eval_config(named, has_baseline=False)


def test_a_module_that_is_only_where_the_step_runs_is_left_to_the_step():
    configuration.check_eval_config(_one('Mine', module='not.installed.here'), has_baseline=False)


@pytest.mark.parametrize(
    ('faulty', 'outputs', 'match'),
    [
        (
            _one('AUC', output_names=['c']),
            ['a', 'b'],
            r"output_names of eval_config names the output 'c'.*found: 'a', 'b'",
        ),
        (_one('AUC'), ['a', 'b'], r"names no output for 'AUC', but the model has 2 \('a', 'b'\)"),
        (
            tfma.EvalConfig(model_specs=[tfma.ModelSpec(label_keys={'c': 'y'})]),
            ['a', 'b'],
            r"ModelSpec.label_keys of eval_config names the output 'c'",
        ),
    ],
)
def test_outputs_that_a_model_does_not_have_are_named(faulty, outputs, match):
    with pytest.raises(EdgeError, match=match):
        configuration.check_outputs(faulty, outputs)


def test_counting_examples_needs_no_output():
    configuration.check_outputs(_one('ExampleCount'), ['a', 'b'])
    configuration.check_outputs(_one('AUC'), ['a'])
