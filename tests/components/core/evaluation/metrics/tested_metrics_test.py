"""Which metrics can be tested, and the one line for those that cannot."""

from __future__ import annotations

import pytest
from tensorflow_model_analysis.proto import config_pb2  # TFMA 0.52 does not export every message

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.tested_metrics import (
    MetricDrop,
    check_outputs,
    find_tested_metrics,
)


def config(*metrics: tuple[str, str], **spec) -> config_pb2.EvalConfig:
    model = config_pb2.ModelSpec(label_key='label', example_weight_key=spec.pop('weight', ''))
    configs = [config_pb2.MetricConfig(class_name=name, config=text) for name, text in metrics]
    return config_pb2.EvalConfig(
        model_specs=[model],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[config_pb2.MetricConfig(class_name='AUC')]),
            config_pb2.MetricsSpec(metrics=configs, **spec),
        ],
    )


ACCURACY = ('SparseCategoricalAccuracy', '')


def test_settings_and_outputs_are_those_of_eval_config():
    several = config(
        ('SparseTopKCategoricalAccuracy', '{"k": 3, "name": "top3", "dtype": "float32"}'),
        ('SparseTopKCategoricalAccuracy', '"k": 2, "name": "top2"'),
        output_names=['a', 'b'],
    )
    first, second = find_tested_metrics(several, [MetricDrop('top2', 0.01)])
    assert (first.output_name, second.output_name) == ('a', 'b')
    assert (first.metric.settings, first.metric.is_loss, first.margin) == ({'k': 2}, False, 0.01)
    assert first.name == 'top2 of output a'
    (loss,) = find_tested_metrics(config(('MeanSquaredError', '')), [MetricDrop('MeanSquaredError', 3.0)])
    assert loss.metric.is_loss
    assert loss.name == 'MeanSquaredError'


@pytest.mark.parametrize(
    ('metric', 'margin', 'eval_config', 'match'),
    [
        ('', 0.1, config(ACCURACY), 'has no metric; name one of eval_config: BinaryAccuracy, '),
        ('SparseCategoricalAccuracy', 0.0, config(ACCURACY), 'the margin 0.0 .* expected .* a number above 0'),
        ('SparseCategoricalAccuracy', -1.0, config(ACCURACY), 'expected .* a number above 0'),
        ('SparseCategoricalAccuracy', float('nan'), config(ACCURACY), 'expected .* a number above 0'),
        ('SparseCategoricalAccuracy', 1.0, config(ACCURACY), 'which no accuracy can drop by'),
        (
            'MeanSquaredError', 0.1, config(ACCURACY),
            r"'MeanSquaredError', which is no metric of eval_config; .* \(SparseCategoricalAccuracy\)",
        ),
        ('AUC', 0.1, config(ACCURACY), "'AUC', which is no mean over examples .* name one of BinaryAccuracy, "),
        (
            'SparseTopKCategoricalAccuracy', 0.1,
            config(*[('SparseTopKCategoricalAccuracy', f'{{"k": {k}, "name": "top{k}"}}') for k in (2, 3)]),
            'eval_config has 2 such metrics; give the one you mean a name',
        ),
        ('SparseCategoricalAccuracy', 0.1, config(ACCURACY, weight='w'), 'example_weight_key of eval_config weights'),
        (
            'CategoricalAccuracy', 0.1,
            config(('CategoricalAccuracy', ''), binarize=config_pb2.BinarizationOptions(class_ids={'values': [1]})),
            'under MetricsSpec.binarize',
        ),
        (
            'CategoricalAccuracy', 0.1,
            config(('CategoricalAccuracy', ''), aggregate=config_pb2.AggregationOptions(macro_average=True)),
            'under MetricsSpec.aggregate',
        ),
        ('SparseCategoricalAccuracy', 0.1, config(ACCURACY, query_key='q'), 'under MetricsSpec.query_key'),
        (
            'SparseCategoricalCrossentropy', 0.1,
            config(('SparseCategoricalCrossentropy', '{"ignore_class": 3}')),
            "sets 'ignore_class' to 3, which cannot be tested; it may set name, from_logits",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_refused_in_one_line(metric, margin, eval_config, match):
    with pytest.raises(EdgeError, match=match) as caught:
        find_tested_metrics(eval_config, [MetricDrop(metric, margin)])
    assert str(caught.value).startswith('EdgeEvaluation.max_metric_drop')
    assert '\n' not in str(caught.value)


def test_a_metric_is_named_once():
    drops = [MetricDrop('SparseCategoricalAccuracy', 0.1), MetricDrop('SparseCategoricalAccuracy', 0.2)]
    with pytest.raises(EdgeError, match="names 'SparseCategoricalAccuracy' twice"):
        find_tested_metrics(config(ACCURACY), drops)


def test_weights_do_not_matter_where_nothing_is_tested():
    assert find_tested_metrics(config(ACCURACY, weight='w'), []) == ()


def test_an_output_of_several_dimensions_is_refused():
    tested = find_tested_metrics(config(ACCURACY), [MetricDrop('SparseCategoricalAccuracy', 0.1)])
    check_outputs(tested, {'probabilities': (None, 10)})
    check_outputs((), {'mask': (None, 4, 4, 3)})
    with pytest.raises(
        EdgeError, match=r"on output 'mask' of the shape \(None, 4, 4, 3\); expected \(batch, va"
    ):
        check_outputs(tested, {'mask': (None, 4, 4, 3)})
