"""The levels of a deployment tree: what a step is called, and which component makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfx_edge import proto
from tfx_edge.components import Clusterer, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.pipelines.tree.as_python import as_python
from tfx_edge.pipelines.tree.branch import Branch, TreeInputs

# Level of the last step, which every route has.
QUANTIZATION = 'quantization'
_QAT = 'qat'
# The mode that computes with the bits of weights and activations that QATTrainer simulates.
_MODE_OF_BITS = {(8, 8): 'INT8', (8, 16): 'INT16X8', (4, 8): 'INT4X8'}


@dataclasses.dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
      alternatives: the configurations of its alternatives that a tree asks for.
      step_name: of a configuration, in letters and digits.
      build: continues a branch with a component; gets the step's name and configuration.
      fits: whether a configuration may follow those before it on a route, by their levels' names.
    """

    alternatives: Callable[[proto.DeploymentTree], Sequence[Any]]
    step_name: Callable[[Any], str]
    build: Callable[[Branch, str, Any, TreeInputs], Branch]
    fits: Callable[[Mapping[str, Any], Any], bool] = lambda before, config: True


def _pruning_name(config: proto.Pruning) -> str:
    suffix = 'global' if config.scope == proto.Pruning.GLOBAL else ''
    if config.HasField('structure') and config.structure.HasField('m_of_n'):
        return f'zeros{config.structure.m_of_n.m}of{config.structure.m_of_n.n}{suffix}'
    if config.HasField('structure') and config.structure.HasField('block'):
        suffix = f'block{config.structure.block.height}x{config.structure.block.width}{suffix}'
    return f'zeros{100 * config.target_sparsity:g}{suffix}'.replace('.', 'p')


def _qat_name(config: proto.QuantizationAwareTraining) -> str:
    weights = '' if config.weight_bits == 8 else f'w{config.weight_bits}'
    activations = '' if config.activation_bits == 8 else f'a{config.activation_bits}'
    return f'qat{weights}{activations}'


def _quantization_name(config: proto.Quantization) -> str:
    return proto.Quantization.Mode.Name(config.mode).lower().replace('_', '')


def _fits_bits(before: Mapping[str, Any], config: proto.Quantization) -> bool:
    """Whether the file computes as QATTrainer simulated."""
    qat = before.get(_QAT)
    if qat is None:
        return True
    mode = proto.Quantization.Mode.Name(config.mode)
    return _MODE_OF_BITS.get((qat.weight_bits, qat.activation_bits)) == mode


def _trained(component_class: Any, argument: str) -> Callable[[Branch, str, Any, TreeInputs], Branch]:
    """Builds a component that trains, with its configuration as the named argument."""

    def build(branch: Branch, step: str, config: Any, inputs: TreeInputs) -> Branch:
        arguments = {
            **inputs.parsing,
            **inputs.module,
            argument: config,
            'fine_tuning': branch.fine_tuning,
            'signature_name': inputs.signature_name,
        }
        shown = [f'{argument}={as_python(config)}']
        if branch.fine_tuning.ListFields():
            shown.append(f'fine_tuning={as_python(branch.fine_tuning)}')
        shown += [f'{name}={value!r}' for name, value in inputs.module.items()]
        return branch.then(step, component_class, arguments, ', '.join([*shown, *_signature(inputs)]))

    return build


def _build_qat(branch: Branch, step: str, config: Any, inputs: TreeInputs) -> Branch:
    trained = _trained(QATTrainer, 'qat')(branch, step, config, inputs)
    return dataclasses.replace(trained, calibration=trained.components[-1].outputs['calibration'])


def _build_quantizer(branch: Branch, step: str, config: Any, inputs: TreeInputs) -> Branch:
    calibrated = branch.calibration is not None
    arguments = {
        **({'calibration': branch.calibration} if calibrated else inputs.parsing),
        'quantization': config,
        'signature_name': inputs.signature_name,
    }
    shown = [f'quantization={as_python(config)}', *_signature(inputs)]
    return branch.then(step, TFLiteQuantizer, arguments, ', '.join(shown))


def _signature(inputs: TreeInputs) -> list[str]:
    return [f'signature_name={inputs.signature_name!r}'] if inputs.signature_name else []


def _quantizations(tree: proto.DeploymentTree) -> Sequence[proto.Quantization]:
    modes = ('FLOAT16', 'DYNAMIC_INT8', 'INT8', 'INT16X8')
    return tree.quantization or [proto.Quantization(mode=mode) for mode in modes]


LEVELS: Mapping[str, Level] = {
    'pruning': Level(
        lambda tree: tree.pruning or [proto.Pruning()], _pruning_name, _trained(Pruner, 'pruning')
    ),
    'clustering': Level(
        lambda tree: tree.clustering or [proto.Clustering()],
        lambda config: f'clusters{config.number_of_clusters}',
        _trained(Clusterer, 'clustering'),
    ),
    _QAT: Level(lambda tree: tree.qat or [proto.QuantizationAwareTraining()], _qat_name, _build_qat),
    QUANTIZATION: Level(_quantizations, _quantization_name, _build_quantizer, _fits_bits),
}
