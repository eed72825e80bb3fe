"""The components of a tree: what they share, their inputs, and a level that is added."""

from __future__ import annotations

import json

import pytest
from tfx.types import channel, standard_artifacts

from tfx_edge import proto
from tfx_edge.components import Pruner
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines import deployment_tree
from tfx_edge.pipelines.digits.pipeline import eval_config
from tfx_edge.pipelines.tree.levels import LEVELS, Level

pytestmark = pytest.mark.slow

SMALL = proto.DeploymentTree(quantization=[{'mode': 'FLOAT16'}, {'mode': 'INT8'}])


def tree(config: proto.DeploymentTree = SMALL, **arguments):
    trainer = {'model': channel.Channel(type=standard_artifacts.Model, producer_component_id='Trainer')}
    examples = channel.Channel(type=standard_artifacts.Examples, producer_component_id='ExampleGen')
    return {
        component.id: component
        for component in deployment_tree(trainer, examples, eval_config(), tree=config, **arguments)
    }


def properties(component, key):
    return json.loads(component.exec_properties[key])


def test_routes_share_their_prefixes():
    found = tree()
    counts = {
        kind: sum(name.startswith(f'{kind}-') for name in found)
        for kind in ('Pruner', 'Clusterer', 'QATTrainer', 'TFLiteQuantizer', 'EdgeEvaluator')
    }
    # Twelve routes: of four compressions, float16, int8, and int8 through QATTrainer.
    assert counts == {
        'Pruner': 1,
        'Clusterer': 2,
        'QATTrainer': 4,
        'TFLiteQuantizer': 12,
        'EdgeEvaluator': 12,
    }
    pruned = found['Pruner-zeros50'].outputs['model']
    for user in ('Clusterer-zeros50-clusters16', 'QATTrainer-zeros50-qat', 'TFLiteQuantizer-zeros50-int8'):
        assert found[user].inputs['input_model'] is pruned


def test_the_selector_is_the_last_and_gets_all_in_the_order_of_its_routes():
    found = tree()
    selector = list(found.values())[-1]
    routes = properties(selector, 'routes')
    for place, route in enumerate(routes):
        name = route['name']
        assert selector.inputs[f'candidate_{place}'] is found[f'TFLiteQuantizer-{name}'].outputs['model']
        evaluation = found[f'EdgeEvaluator-{name}'].outputs['edge_evaluation']
        assert selector.inputs[f'evaluation_{place}'] is evaluation
        assert all(component in found for component in route['components'])
    assert len(selector.inputs) == 2 * len(routes) == 24


def test_components_stand_in_an_order_in_which_they_can_run():
    found = tree()
    before: list[str] = ['Trainer', 'ExampleGen']
    for name, component in found.items():
        assert all(source.producer_component_id in before for source in component.inputs.values())
        before.append(name)


def test_qat_hands_its_ranges_to_the_quantizer_and_others_calibrate_on_examples():
    found = tree()
    behind_qat = found['TFLiteQuantizer-zeros50-qat-int8'].inputs
    assert behind_qat['input_calibration'] is found['QATTrainer-zeros50-qat'].outputs['calibration']
    assert 'examples' not in behind_qat
    assert sorted(found['TFLiteQuantizer-zeros50-int8'].inputs) == ['examples', 'input_model']


def test_the_ranges_of_qat_are_not_used_for_a_model_that_was_trained_further():
    config = proto.DeploymentTree(levels=['qat', 'pruning'], quantization=[{'mode': 'INT8'}])
    assert sorted(tree(config)['TFLiteQuantizer-qat-zeros50-int8'].inputs) == ['examples', 'input_model']


def test_all_are_evaluated_alike_against_the_trainers_model():
    limits = proto.EdgeEvaluation(max_zip_bytes=1000)
    found = tree(edge=limits, example_splits=['test'])
    evaluators = [component for name, component in found.items() if name.startswith('EdgeEvaluator-')]
    assert len({json.dumps(component.exec_properties, sort_keys=True) for component in evaluators}) == 1
    assert properties(evaluators[0], 'edge') == {'max_zip_bytes': '1000'}
    assert {c.inputs['baseline_model'].producer_component_id for c in evaluators} == {'Trainer'}


def test_configurations_reach_their_components_and_the_recipe():
    config = proto.DeploymentTree(
        levels=['pruning'],
        pruning=[{'target_sparsity': 0.75}],
        quantization=[{'mode': 'INT16X8'}],
        fine_tuning=[{'num_steps': 20}],
        selection={'objective': 'METRIC'},
    )
    found = tree(config, signature_name='serve', module_path='my.module')
    pruner = found['Pruner-zeros75']
    assert properties(pruner, 'pruning') == {'target_sparsity': 0.75}
    assert properties(pruner, 'fine_tuning') == {'num_steps': '20'}
    assert pruner.exec_properties['signature_name'] == 'serve'
    assert properties(found['EdgeSelector'], 'selection_config') == {'objective': 'METRIC'}
    recipe = properties(found['EdgeSelector'], 'routes')[1]['recipe']
    assert recipe.splitlines() == [
        "pruner = Pruner(model=trainer.outputs['model'], examples=examples,",
        '    pruning=proto.Pruning(target_sparsity=0.75), fine_tuning=proto.FineTuning(num_steps=20), '
        "module_path='my.module', signature_name='serve')",
        "tflite_quantizer = TFLiteQuantizer(model=pruner.outputs['model'], examples=examples,",
        "    quantization=proto.Quantization(mode='INT16X8'), signature_name='serve')",
    ]


def test_a_new_kind_of_node_is_one_entry_and_one_builder():
    def build(branch, step, config, inputs):
        arguments = {**inputs.parsing, 'pruning': config, 'fine_tuning': branch.fine_tuning}
        return branch.then(step, Pruner, arguments, 'pruning=...')

    block = proto.Pruning(structure={'block': {'height': 4, 'width': 1}})
    blocks = Level(lambda config: [block], lambda config: 'blocks', build)
    config = proto.DeploymentTree(levels=['blocks', 'clustering'], quantization=[{'mode': 'INT8'}])
    found = tree(config, levels={**LEVELS, 'blocks': blocks})
    assert (
        found['Clusterer-blocks-clusters16'].inputs['input_model'] is found['Pruner-blocks'].outputs['model']
    )
    routes = [route['name'] for route in properties(found['EdgeSelector'], 'routes')]
    assert routes == ['int8', 'clusters16-int8', 'blocks-int8', 'blocks-clusters16-int8']


def test_a_configuration_at_fault_is_refused_by_its_component():
    with pytest.raises(EdgeError, match=r'Pruning.target_sparsity is 1\.5'):
        tree(proto.DeploymentTree(pruning=[{'target_sparsity': 1.5}]))
    with pytest.raises(EdgeError, match=r'give trainer\.outputs'):
        deployment_tree({}, channel.Channel(type=standard_artifacts.Examples), eval_config())
