"""EdgeSelector as a pipeline sees it: types, inputs, exec properties, and what it refuses."""

from __future__ import annotations

import json

import pytest
from tfx.orchestration import data_types
from tfx.types import channel, standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import Clusterer, EdgeEvaluator, EdgeSelector, Pruner, TFLiteQuantizer
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.route import Route
from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation
from tfx_edge.pipelines.digits.pipeline import eval_config

pytestmark = pytest.mark.slow


def channels(count: int) -> dict[str, list[channel.Channel]]:
    return {
        'candidates': [
            channel.Channel(type=standard_artifacts.Model, producer_component_id=f'Quantizer{place}')
            for place in range(count)
        ],
        'evaluations': [
            channel.Channel(type=EdgeEvaluation, producer_component_id=f'Evaluator{place}')
            for place in range(count)
        ],
    }


def test_outputs_have_the_standard_types_and_each_candidate_an_input_that_may_stay_empty():
    selector = EdgeSelector(**channels(2))
    assert {key: output.type_name for key, output in selector.outputs.items()} == {
        'model': 'Model',
        'blessing': 'ModelBlessing',
        'selection': 'tfx_edge.Selection',
    }
    assert sorted(selector.inputs) == ['candidate_0', 'candidate_1', 'evaluation_0', 'evaluation_1']
    assert all(parameter.allow_empty for parameter in selector.spec.INPUTS.values())
    assert isinstance(selector.spec, EdgeSelector.SPEC_CLASS)


def test_selectors_of_one_pipeline_may_have_different_numbers_of_candidates():
    assert len(EdgeSelector(**channels(3)).inputs) == 6
    assert len(EdgeSelector(**channels(1)).inputs) == 2


def test_exec_properties_are_json_strings_and_the_version():
    selection = proto.Selection(objective='CYCLES', device='ethos-u55-128')
    properties = EdgeSelector(**channels(2), selection=selection).exec_properties
    assert json.loads(properties['selection_config']) == {'objective': 'CYCLES', 'device': 'ethos-u55-128'}
    assert [route['name'] for route in json.loads(properties['routes'])] == ['Quantizer0', 'Quantizer1']
    assert properties['tfx_edge_version'] == tfx_edge.__version__
    assert all(isinstance(value, str) for value in properties.values())


def test_routes_are_names_or_whole_routes():
    whole = Route('int16', ('int16',), 'quantizer = TFLiteQuantizer(...)', ('Quantizer1',))
    first, second = json.loads(EdgeSelector(**channels(2), routes=['int8', whole]).exec_properties['routes'])
    assert (first['name'], first['components']) == ('int8', ['Quantizer0', 'Evaluator0'])
    assert second['recipe'] == 'quantizer = TFLiteQuantizer(...)'


def test_branches_are_read_off_the_pipeline():
    trainer = channel.Channel(type=standard_artifacts.Model, producer_component_id='Trainer')
    examples = channel.Channel(type=standard_artifacts.Examples, producer_component_id='ExampleGen')
    shared = Pruner(model=trainer, examples=examples)
    candidates, evaluations = [], []
    for clusters in (8, 16):
        clusterer = Clusterer(model=shared.outputs['model'], examples=examples).with_id(
            f'Clusterer{clusters}'
        )
        quantizer = TFLiteQuantizer(model=clusterer.outputs['model'], examples=examples).with_id(
            f'Q{clusters}'
        )
        evaluator = EdgeEvaluator(
            model=quantizer.outputs['model'],
            examples=examples,
            baseline_model=trainer,
            eval_config=eval_config(),
        ).with_id(f'E{clusters}')
        candidates.append(quantizer.outputs['model'])
        evaluations.append(evaluator.outputs['edge_evaluation'])
    routes = json.loads(EdgeSelector(candidates, evaluations).exec_properties['routes'])
    assert [route['name'] for route in routes] == ['Q8', 'Q16']
    assert routes[0]['components'] == ['Clusterer8', 'Q8', 'E8']


def test_a_selection_may_come_with_the_run():
    parameter = data_types.RuntimeParameter(name='selection', ptype=str)
    assert EdgeSelector(**channels(1), selection=parameter).exec_properties['selection_config'] is parameter


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        ({'candidates': [], 'evaluations': []}, '0 candidates and 0 evaluations'),
        ({'evaluations': []}, '2 candidates and 0 evaluations'),
        ({'routes': ['a']}, '1 routes for 2 candidates'),
        ({'routes': ['a', 'a']}, "2 routes are named 'a'"),
        ({'routes': ['a', '../b']}, "a route is named '../b'"),
        ({'selection': proto.Selection(objective='CYCLES')}, 'name it in Selection.device'),
        ({'selection': proto.Selection(device='web')}, 'objective ZIP_BYTES is of no device'),
        (
            {'selection': proto.Selection(objective='CYCLES', device='web')},
            "Selection.device: the profile of device 'web' reports no cycles",
        ),
        ({'selection': '{"objectiv": 1}'}, 'is not the JSON of tfx_edge.proto.Selection'),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(arguments, line):
    with pytest.raises(EdgeError) as caught:
        EdgeSelector(**{**channels(2), **arguments})
    assert line in str(caught.value)
