"""EdgeEvaluator as a pipeline sees it: types, exec properties, and what it refuses."""

from __future__ import annotations

import json

import pytest
import tensorflow_model_analysis as tfma
from tfx.orchestration import data_types
from tfx.types import channel, standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import EdgeEvaluator
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.edge_evaluator import options

pytestmark = pytest.mark.slow

DROP = {'metric': 'SparseCategoricalAccuracy', 'margin': 0.01}


@pytest.fixture
def channels():
    return {
        'model': channel.Channel(type=standard_artifacts.Model),
        'examples': channel.Channel(type=standard_artifacts.Examples),
    }


@pytest.fixture
def baseline():
    return {'baseline_model': channel.Channel(type=standard_artifacts.Model)}


def test_outputs_have_the_standard_types_and_one_artifact_each(channels, baseline, accuracy_config):
    evaluator = EdgeEvaluator(**channels, **baseline, eval_config=accuracy_config(0.9, -0.01))
    types = {key: output.type_name for key, output in evaluator.outputs.items()}
    assert types == {
        'evaluation': 'ModelEvaluation',
        'blessing': 'ModelBlessing',
        'edge_evaluation': 'tfx_edge.EdgeEvaluation',
    }
    assert sorted(evaluator.inputs) == ['baseline_model', 'examples', 'model']


def test_exec_properties_are_json_strings_and_the_version(channels, accuracy_config):
    edge = proto.EdgeEvaluation(max_zip_bytes=1000, require_full_integer=True)
    evaluator = EdgeEvaluator(
        **channels, eval_config=accuracy_config(0.9), edge=edge, example_splits=['test']
    )
    properties = evaluator.exec_properties
    assert properties['tfx_edge_version'] == tfx_edge.__version__
    assert json.loads(properties['edge']) == {'max_zip_bytes': '1000', 'require_full_integer': True}
    assert json.loads(properties['example_splits']) == ['test']
    assert json.loads(properties['eval_config'])['model_specs'] == [{'label_key': 'label'}]
    assert all(isinstance(value, str) for value in properties.values())


def test_the_limits_of_the_calibration_are_on_unless_switched_off():
    limits = options.edge_limits(proto.EdgeEvaluation())
    assert (limits['max_clipping'], limits['min_range_used']) == (0.04, 0.15)
    limits = options.edge_limits(proto.EdgeEvaluation(max_clipping=1, min_range_used=0))
    assert (limits['max_clipping'], limits['min_range_used']) == (None, None)
    strict = options.edge_limits(proto.EdgeEvaluation(max_clipping=0, min_range_used=1))
    assert (strict['max_clipping'], strict['min_range_used']) == (0, 1)


def test_defaults_are_the_eval_split_and_the_limits_of_the_message(channels, accuracy_config):
    properties = EdgeEvaluator(**channels, eval_config=accuracy_config(0.9)).exec_properties
    assert json.loads(properties['example_splits']) == ['eval']
    assert json.loads(properties['edge']) == {}


def test_json_and_runtime_parameters_are_taken(channels, accuracy_config):
    text = EdgeEvaluator(**channels, eval_config=accuracy_config(0.9)).exec_properties['eval_config']
    assert EdgeEvaluator(**channels, eval_config=text).exec_properties['eval_config'] == text
    parameter = data_types.RuntimeParameter(name='eval-config', ptype=str)
    evaluator = EdgeEvaluator(
        **channels, eval_config=parameter, edge=data_types.RuntimeParameter('edge', ptype=str)
    )
    assert evaluator.exec_properties['eval_config'] is parameter


@pytest.mark.parametrize(
    ('field', 'values', 'match'),
    [
        (
            'max_metric_drop',
            {'max_metric_drop': [{'metric': 'AUC', 'margin': 0.1}]},
            "names 'AUC', which is no metric of eval_config; name one of its metrics that can be tested "
            r'\(SparseCategoricalAccuracy, SparseCategoricalCrossentropy\)',
        ),
        (
            'max_metric_drop',
            {'max_metric_drop': [{'metric': 'SparseCategoricalAccuracy'}]},
            'the margin 0.0 .* a number above 0',
        ),
        ('max_metric_drop', {'max_metric_drop': [{'margin': 0.1}]}, 'has no metric; name one'),
        ('confidence', {'confidence': 0.9}, 'says how max_metric_drop is tested, which is not set'),
        ('confidence', {'max_metric_drop': [DROP], 'confidence': 1.0}, 'a level above 0.5, below 1'),
        ('confidence', {'max_metric_drop': [DROP], 'confidence': 0.5}, 'a level above 0.5, below 1'),
        ('min_slice_examples', {'min_slice_examples': 10}, 'says how max_metric_drop is tested'),
        ('min_slice_examples', {'min_slice_examples': 0}, 'a number of examples above 0'),
        ('bless_undecided', {'bless_undecided': True}, 'max_latency_ratio, of which none is set; set one'),
        ('max_latency_ratio', {'max_latency_ratio': 0.0}, 'expected a ratio above 0'),
        (
            'max_flips_listed',
            {'max_flips_listed': -1},
            'expected a number of examples, where 0 switches the list',
        ),
        (
            'devices',
            {'devices': [{'name': 'ethos'}]},
            "device 'ethos' is not known; expected one of: ethos-u55-32,",
        ),
        ('devices', {'devices': [{}]}, "device '' is not known"),
        (
            'devices',
            {'devices': [{'name': 'tflite-micro', 'max_cycles': 9}]},
            'reports no cycles; expected limits on',
        ),
        (
            'devices',
            {'devices': [{'name': 'tflite-micro'}] * 2},
            "names 'tflite-micro' 2 times; name it once",
        ),
        ('max_file_bytes', {'max_file_bytes': 0}, 'expected a number of bytes above 0'),
        ('max_zip_bytes', {'max_zip_bytes': -1}, 'expected a number of bytes above 0'),
        ('min_agreement', {'min_agreement': 1.01}, 'expected a share above 0, at most 1'),
        ('min_agreement', {'min_agreement': 0.0}, 'expected a share above 0, at most 1'),
        ('max_clipping', {'max_clipping': 1.01}, 'expected a share from 0 to 1, where 1 switches it off'),
        ('max_clipping', {'max_clipping': float('nan')}, 'expected a share from 0 to 1'),
        ('min_range_used', {'min_range_used': -0.1}, 'expected a share from 0 to 1, where 0 switches it off'),
    ],
)
def test_limits_out_of_range_or_not_supported_are_refused(
    channels, baseline, accuracy_config, field, values, match
):
    with pytest.raises(EdgeError, match=match) as caught:
        EdgeEvaluator(
            **channels, **baseline, eval_config=accuracy_config(0.9), edge=proto.EdgeEvaluation(**values)
        )
    assert f'EdgeEvaluation.{field}' in str(caught.value)


def test_values_that_equal_the_defaults_are_no_demand(channels, accuracy_config):
    edge = proto.EdgeEvaluation(confidence=0.95, min_slice_examples=100, max_flips_listed=100)
    EdgeEvaluator(**channels, eval_config=accuracy_config(0.9), edge=edge)


def test_what_compares_with_a_baseline_needs_one(channels, accuracy_config):
    with pytest.raises(EdgeError, match='min_agreement compares with a baseline; give baseline_model'):
        EdgeEvaluator(
            **channels, eval_config=accuracy_config(0.9), edge=proto.EdgeEvaluation(min_agreement=0.9)
        )
    for values in ({'max_metric_drop': [DROP]}, {'max_flips_listed': 5}, {'max_latency_ratio': 1.5}):
        edge = proto.EdgeEvaluation(**values)
        with pytest.raises(
            EdgeError, match=r'EdgeEvaluation.max_\w+ compares with a baseline; give baseline_model'
        ):
            EdgeEvaluator(**channels, eval_config=accuracy_config(0.9), edge=edge)
    EdgeEvaluator(**channels, eval_config=accuracy_config(0.9), edge=proto.EdgeEvaluation(max_flips_listed=0))
    with pytest.raises(EdgeError, match='change_threshold, which compares with a baseline'):
        EdgeEvaluator(**channels, eval_config=accuracy_config(change=-0.01))
    specs = [
        tfma.ModelSpec(name='candidate', label_key='label'),
        tfma.ModelSpec(name='baseline', label_key='label', is_baseline=True),
    ]
    with pytest.raises(EdgeError, match='ModelSpec with is_baseline'):
        EdgeEvaluator(**channels, eval_config=accuracy_config(0.9, model_specs=specs))


def test_non_inferiority_is_taken_with_all_that_belongs_to_it(channels, baseline, accuracy_config):
    edge = proto.EdgeEvaluation(
        max_metric_drop=[DROP, {'metric': 'SparseCategoricalCrossentropy', 'margin': 2.0}],
        confidence=0.99,
        min_slice_examples=30,
        bless_undecided=True,
        max_flips_listed=0,
    )
    evaluator = EdgeEvaluator(**channels, **baseline, eval_config=accuracy_config(0.9), edge=edge)
    assert json.loads(evaluator.exec_properties['edge'])['bless_undecided'] is True
    # Where one of the two is not known yet, they are held against each other when the step runs.
    later = data_types.RuntimeParameter(name='eval-config', ptype=str)
    EdgeEvaluator(**channels, **baseline, eval_config=later, edge=edge)


@pytest.mark.parametrize('eval_config', [None, 3, proto.EdgeEvaluation()])
def test_eval_config_is_required(channels, eval_config):
    with pytest.raises(EdgeError, match=r'eval_config is .* expected a tfma.EvalConfig'):
        EdgeEvaluator(**channels, eval_config=eval_config)


def test_eval_config_of_another_shape_is_refused(channels):
    with pytest.raises(EdgeError, match=r'eval_config is not the JSON of a tfma.EvalConfig'):
        EdgeEvaluator(**channels, eval_config='{"metric_specs": []}')


@pytest.mark.parametrize('splits', [[], 'eval', [''], [3]])
def test_splits_that_are_no_list_of_names_are_refused(channels, accuracy_config, splits):
    with pytest.raises(EdgeError, match='expected a list of names of splits'):
        EdgeEvaluator(**channels, eval_config=accuracy_config(0.9), example_splits=splits)
