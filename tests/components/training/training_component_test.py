"""Pruner, Clusterer and QATTrainer as a pipeline's author meets them: types, exec properties, refusals."""

from __future__ import annotations

import inspect
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from tfx import types
from tfx.orchestration import data_types
from tfx.types import standard_artifacts

import tfx_edge
from tfx_edge import proto
from tfx_edge.components import Clusterer, Pruner, QATTrainer
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.training.training_component import TrainingArguments

pytestmark = pytest.mark.slow

_COMPONENTS = [
    (Pruner, 'pruning', proto.Pruning(target_sparsity=0.75)),
    (Clusterer, 'clustering', proto.Clustering(number_of_clusters=8)),
    (QATTrainer, 'qat', proto.QuantizationAwareTraining(train_ranges=False)),
]


def _channels() -> dict[str, types.Channel]:
    return {
        'model': types.Channel(type=standard_artifacts.Model),
        'examples': types.Channel(type=standard_artifacts.Examples),
    }


@pytest.mark.parametrize(('component', 'name', 'config'), _COMPONENTS)
def test_exec_properties_are_strings_that_hold_what_was_set(component: Any, name: str, config: Any) -> None:
    made = component(**_channels(), **{name: config}, fine_tuning=proto.FineTuning(num_steps=7))
    assert made.outputs['model'].type == standard_artifacts.Model
    assert all(isinstance(value, str) for value in made.exec_properties.values())
    assert len(json.loads(made.exec_properties[name])) == 1
    assert json.loads(made.exec_properties['fine_tuning']) == {'num_steps': '7'}
    assert made.exec_properties['tfx_edge_version'] == tfx_edge.__version__


_ROOT = pathlib.Path(__file__).parents[3]
_TYPED = """from tfx_edge.components import Pruner
Pruner('model', schema=None, signature_name='predict')
Pruner('model', schemas=None)
Pruner('model', module_file=7)
"""
_SHARED = {
    'schema': None,
    'transform_graph': None,
    'fine_tuning': None,
    'signature_name': '',
    'module_file': None,
    'module_path': None,
}


@pytest.mark.parametrize(('component', 'name', 'config'), _COMPONENTS)
def test_help_shows_each_argument_with_its_default_and_meaning(
    component: Any, name: str, config: Any
) -> None:
    parameters = inspect.signature(component).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert defaults == {'model': inspect.Parameter.empty, 'examples': None, name: None, **_SHARED}
    for key in _SHARED:
        assert parameters[key].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[key].annotation == TrainingArguments.__annotations__[key].__forward_arg__
    arguments, raises = component.__init__.__doc__.split('Args:\n')[1].split('\n\n')
    assert re.findall(r'^  (\w+): [\w`\']', arguments, re.MULTILINE) == list(parameters)
    assert raises.startswith('Raises:\n  EdgeError: ')


def test_an_argument_that_does_not_exist_is_refused_when_it_runs_and_by_a_type_checker(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'schemas'"):
        Pruner(**_channels(), schemas=None)
    package = tmp_path / 'tfx_edge'
    package.mkdir()
    folders = {'__init__.py': 'components/package/__init__.py', 'proto': 'proto/messages'}
    for name, target in {**folders, 'components': 'components'}.items():
        (package / name).symlink_to(_ROOT / target)
    (tmp_path / 'code.py').write_text(_TYPED)
    options = ['--config-file', str(_ROOT / 'pyproject.toml'), '--follow-imports=silent', '--cache-dir=cache']
    command = [sys.executable, '-m', 'mypy', *options, 'code.py']
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    found = re.findall(r'^code.py:(\d+): error: .*\[(.*)\]$', printed, re.MULTILINE)
    assert found == [('3', 'call-arg'), ('4', 'arg-type')], printed


def test_qat_trainer_has_a_second_output() -> None:
    made = QATTrainer(**_channels())
    assert made.outputs['calibration'].type == tfx_edge.Calibration
    assert tfx_edge.Calibration.TYPE_NAME == 'tfx_edge.Calibration'


@pytest.mark.parametrize(('component', 'name', 'config'), _COMPONENTS)
def test_json_and_runtime_parameters_stand_for_a_message(component: Any, name: str, config: Any) -> None:
    from_json = component(**_channels(), **{name: '{}'})
    assert from_json.exec_properties[name] == '{}'
    parameter = data_types.RuntimeParameter(name='config', ptype=str)
    assert component(**_channels(), **{name: parameter}).exec_properties[name] is parameter


@pytest.mark.parametrize(('component', 'name', 'config'), _COMPONENTS)
def test_steps_without_examples_and_two_modules_are_refused(component: Any, name: str, config: Any) -> None:
    model = types.Channel(type=standard_artifacts.Model)
    with pytest.raises(EdgeError, match='num_steps is 1000, which needs examples'):
        component(model=model)
    component(model=model, fine_tuning=proto.FineTuning(num_steps=0))
    if component is not QATTrainer:
        with pytest.raises(EdgeError, match='batch_norm_batches is 3, which needs examples'):
            component(model=model, fine_tuning=proto.FineTuning(num_steps=0, batch_norm_batches=3))
    with pytest.raises(EdgeError, match='are both given; give one of them'):
        component(**_channels(), module_file='train.py', module_path='my.train')


@pytest.mark.parametrize(('component', 'name', 'config'), _COMPONENTS)
def test_module_is_an_exec_property_and_a_file_is_packed_into_a_wheel(
    component: Any, name: str, config: Any, tmp_path: pathlib.Path
) -> None:
    made = component(**_channels(), module_path='my.train')
    assert made.exec_properties['module_path'] == 'my.train'
    (tmp_path / 'train.py').write_text('def optimizer_fn(num_steps): ...')
    made = component(**_channels(), module_file=str(tmp_path / 'train.py'))
    made._resolve_pip_dependencies(str(tmp_path))
    assert not made.exec_properties['module_file']
    assert re.match(r'train@.*\.whl$', made.exec_properties['module_path'])


@pytest.mark.parametrize(
    ('component', 'arguments', 'message'),
    [
        (
            Pruner,
            {'pruning': proto.Pruning(target_sparsity=1.0)},
            r'Pruning.target_sparsity is 1.0; expected 0 to',
        ),
        (Pruner, {'pruning': proto.Pruning(initial_sparsity=0.9)}, 'Pruning.initial_sparsity is 0.9'),
        (Pruner, {'pruning': proto.Pruning(begin_step=9, end_step=3)}, 'Pruning.end_step is 3'),
        (Pruner, {'pruning': proto.Pruning(include=['('])}, r"include holds '\(', which is not a regular"),
        (
            Pruner,
            {'pruning': proto.Pruning(criterion='TAYLOR', schedule='CONSTANT')},
            'TAYLOR with schedule CONSTANT has begin_step 0; expected 1 or more',
        ),
        (
            Pruner,
            {'pruning': proto.Pruning(structure={'m_of_n': {'m': 4, 'n': 4}})},
            r'MOfN.m is 4; expected above 0 and below n \(4\)',
        ),
        (Pruner, {'pruning': '{"sparsity": 1}'}, 'is not the JSON of tfx_edge.proto.Pruning'),
        (Pruner, {'pruning': proto.Clustering()}, 'expected tfx_edge.proto.Pruning, not Clustering'),
        (Pruner, {'fine_tuning': proto.FineTuning(num_steps=-1)}, 'FineTuning.num_steps is -1'),
        (Pruner, {'fine_tuning': proto.FineTuning(batch_size=0)}, 'FineTuning.batch_size is 0'),
        (Pruner, {'fine_tuning': proto.FineTuning(learning_rate=0)}, 'FineTuning.learning_rate is 0.0'),
        (Pruner, {'fine_tuning': proto.FineTuning(batch_norm_batches=-1)}, 'batch_norm_batches is -1'),
        (
            QATTrainer,
            {'fine_tuning': proto.FineTuning(batch_norm_batches=5)},
            'batch_norm_batches is 5, but the ranges that QATTrainer trains fit the batch norms as they are',
        ),
        (Pruner, {'fine_tuning': proto.FineTuning(temperature=-1)}, 'FineTuning.temperature is -1.0'),
        (
            Pruner,
            {'fine_tuning': proto.FineTuning(loss='LABELS')},
            "FineTuning.label_key is ''; expected a name",
        ),
        (Pruner, {'fine_tuning': proto.FineTuning(label_key='y')}, 'which uses no labels'),
        (
            Pruner,
            {'fine_tuning': proto.FineTuning(loss='LABELS', label_key='y', label_loss='crossentropi')},
            "label_loss is 'crossentropi'; expected the name of a Keras loss",
        ),
        (
            Clusterer,
            {'clustering': proto.Clustering(number_of_clusters=2)},
            'number_of_clusters is 2; expected 3',
        ),
        (
            Clusterer,
            {'clustering': proto.Clustering(granularity='CHANNEL', number_of_clusters=1)},
            'number_of_clusters is 1; expected 2 to 64 with granularity CHANNEL',
        ),
        (
            QATTrainer,
            {'qat': proto.QuantizationAwareTraining(weight_bits=3)},
            'weight_bits is 3; expected 8 or 4',
        ),
        (QATTrainer, {'qat': proto.QuantizationAwareTraining(activation_bits=12)}, 'activation_bits is 12'),
        (
            QATTrainer,
            {'qat': proto.QuantizationAwareTraining(overrides=[{'pattern': 'x', 'weight_bits': 3}])},
            'overrides.weight_bits is 3 for',
        ),
    ],
)
def test_values_out_of_range_are_refused_at_construction(
    component: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeError, match=message):
        component(**_channels(), **arguments)
