"""What the deployed file computes in integers, told in terms of the graph that is trained."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.activation_quantization import (
    SimulatedActivation,
    SimulatedConstant,
    calibrate,
)
from tfx_edge.components.core.compression.bias_quantization import SimulatedBias, find_bias
from tfx_edge.components.core.compression.double_rounding import TwiceRounded, rounds_twice
from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.graph.tensor_matching import match_constants, match_tensors
from tfx_edge.components.core.compression.quantization_aware_training import (
    DeployedArithmetic,
    QATOptions,
    rounded_values,
    simulate,
)
from tfx_edge.components.core.compression.weights.deployed_kernels import (
    DeployedConstant,
    DeployedKernel,
    match_kernels,
)
from tfx_edge.components.core.compression.weights.weight_precision import FLOAT, weight_precisions
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.activations import ActivationTensor, quantized_activations
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.modes import INT8, static_mode
from tfx_edge.components.core.litert.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantize import quantized_file
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.qat_trainer.deployed_constants import quantized_constants
from tfx_edge.components.qat_trainer.local_parity import broken_activations, operators_behind
from tfx_edge.components.qat_trainer.non_finite_operators import non_finite_operators

_LOG = logging.getLogger(__name__)
# What LiteRT runs at once.
_ROWS = 8
# Each keeps one more place of the graph in float.
_MOST_ROUNDS = 16


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What is integer in the deployed file, and how much of that the training simulates.

    Attributes:
      arithmetic: what is simulated.
      activations: all activations that are integers in the file.
      kept_float: regular expressions that match the outputs of operators which are to stay float.
      float_weights: names of the variables that stay float.
      weight_bits: bits by name of the file's kernel.
      not_simulated: names of the file's integer tensors that have no counterpart in the graph.
      fault: why there is no integer file of the model; '' where there is one.
      mode: of the file.
    """

    arithmetic: DeployedArithmetic
    activations: tuple[ActivationTensor, ...] = ()
    kept_float: tuple[str, ...] = ()
    float_weights: tuple[str, ...] = ()
    weight_bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_simulated: tuple[str, ...] = ()
    fault: str = ''
    mode: str = INT8

    @property
    def options(self) -> QuantizationOptions:
        """How the deployed file is quantized."""
        # The engine whose scales of kernels are simulated.
        return QuantizationOptions(self.mode, keep_float=self.kept_float, engine=LITERT)


def _all_integer(model: ModelFile, mode: str) -> tuple[str, ...]:
    del model, mode
    return ()


def plan_deployment(
    graph: ServingGraph,
    qat: QATOptions,
    batch: Mapping[str, np.ndarray] | None,
    convert: Callable[[str, Signature], bytes] = convert_saved_model,
    sound: Callable[[ModelFile, str], tuple[str, ...]] = _all_integer,
) -> Deployment:
    """Converts and quantizes the incoming model, and finds in its graph what the file computes in integers.

    Which tensors these are, along which axes kernels have their scales and which operands are constants is read off
    the file; each is recognized in the graph by its values.

    Args:
      graph: the incoming signature.
      qat: which weights are to be integers, and of how many bits.
      batch: real inputs by name, by whose values activations are told apart; None to simulate weights only.
      convert: gives the float `.tflite` of a SavedModel's folder and one of its signatures.
      sound: which operators of the float file stay float in any case in a mode, as regular expressions.

    Returns:
      What to simulate. Operators that the file computes otherwise than the simulation, on the same inputs, are named
      in the log and stay float. What the file has and the graph lacks without such an effect is named too; so is the
      reason why there is no integer file (of a recurrent net, say), and then nothing is simulated.

    Raises:
      EdgeError: no weight is to be quantized, or a pattern matches none; or there is not even a float file.

    Example:
      >>> plan_deployment(graph, options, next(batches)).not_simulated
      ()
    """
    sites = find_weight_sites(graph)
    precisions = weight_precisions(sites, qat)
    mode = _mode(qat)
    model = ModelFile.of(convert(graph.folder, graph.signature))
    try:
        always = sound(model, mode)
        deployed = _quantized_tensors(model, always, mode)
    except EdgeError as error:
        _LOG.warning(
            'nothing is simulated, and all weights stay float, for there is no integer file: %s', error
        )
        return Deployment(
            DeployedArithmetic({}),
            float_weights=tuple(site.variable.name for site in sites),
            fault=str(error),
        )
    unwanted = [site for site in sites if not precisions[site.variable.key]]
    kernels = match_kernels(graph, sites, deployed.constants)
    kept_float = _outputs_of(graph, unwanted, kernels, deployed.constants)
    kept_float = tuple(sorted({*always, *kept_float, *non_finite_operators(model, batch, graph.inputs)}))
    for _ in range(_MOST_ROUNDS):
        if kept_float:
            deployed = _quantized_tensors(model, kept_float, mode)
        deployment = _deployment(graph, model, sites, precisions, deployed, kept_float, qat, batch)
        broken = {} if batch is None else _broken(graph, model, deployment, qat, batch)
        behind = _first_to_keep(model, deployment, broken)
        if not behind:
            break
        kept_float = tuple(sorted({*kept_float, *behind}))
    for name in deployment.not_simulated:
        _LOG.warning('not simulated: %r is integer in the file and has no counterpart in the graph', name)
    return deployment


def _first_to_keep(model: ModelFile, deployment: Deployment, broken: Mapping[str, float]) -> tuple[str, ...]:
    """The operators behind the first broken activation that are not all float yet: those after it may be fine then."""
    known = {activation.name for activation in deployment.arithmetic.activations}
    for name, steps in broken.items():
        behind = operators_behind(model, name, known)
        if not behind:
            continue  # an input
        if {*behind} <= {*deployment.kept_float}:
            _LOG.info(
                'the file computes %r up to %.0f steps away from the simulation, though what computes it is float: '
                'it reads there what is rounded elsewhere',
                name,
                steps,
            )
            continue
        _LOG.warning(
            'the file computes %r up to %.0f steps away from the simulation; to ship what is trained, these operators '
            'stay float: %s',
            name,
            steps,
            ', '.join(pattern[1:-1].replace('\\', '') for pattern in behind),
        )
        return behind
    return ()


def _deployment(
    graph: ServingGraph,
    model: ModelFile,
    sites: Sequence[WeightSite],
    precisions: Mapping[str, int],
    deployed: _QuantizedTensors,
    kept_float: tuple[str, ...],
    qat: QATOptions,
    batch: Mapping[str, np.ndarray] | None,
) -> Deployment:
    """What is integer when some operators are kept float."""
    kernels = match_kernels(graph, sites, deployed.constants)
    kernels = {key: kernel for key, kernel in kernels.items() if precisions[key]}
    for key, kernel in kernels.items():
        _require_bits(kernel, precisions[key])
    taken = {kernel.constant.name for kernel in kernels.values()}
    others = [constant for constant in deployed.constants if constant.name not in taken]
    constants, unknown = _simulated_constants(graph, others)
    found: list[SimulatedActivation] = []
    if batch is not None:
        found = _simulated_activations(graph, model, deployed.activations, batch)
        groups = {activation.group for activation in found}
        unknown += [activation.name for activation in deployed.activations if activation.group not in groups]
    biases = _simulated_biases(graph, kernels, deployed.activations, found)
    twice = _twice_rounded(kernels, deployed.activations, found)
    return Deployment(
        arithmetic=DeployedArithmetic(
            kernels, tuple(found), tuple(constants), qat.activation_bits, biases, twice
        ),
        activations=deployed.activations,
        kept_float=kept_float,
        float_weights=tuple(site.variable.name for site in sites if site.variable.key not in kernels),
        weight_bits={kernel.constant.name: kernel.constant.bits for kernel in kernels.values()},
        not_simulated=tuple(unknown),
        mode=_mode(qat),
    )


def _broken(
    graph: ServingGraph,
    model: ModelFile,
    deployment: Deployment,
    qat: QATOptions,
    batch: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Activations of the incoming model that its file computes otherwise, over the ranges of a batch."""
    arithmetic = deployment.arithmetic
    values = rounded_values(graph, qat, arithmetic)
    ranges = calibrate(graph, values, arithmetic.activations, [batch])
    simulated = simulate(graph, arithmetic, ranges).ranges()
    inputs = {name: batch[name] for name in graph.inputs}
    trained = trained_ranges(deployment, simulated, model, [inputs])
    file = quantized_file(model, deployment.options, trained)
    few = {name: rows[:_ROWS] for name, rows in inputs.items()}
    return broken_activations(graph, arithmetic, values, ranges, model, file, few)


def trained_ranges(
    deployment: Deployment,
    trained: Mapping[str, tuple[float, float]],
    float_model: bytes | ModelFile,
    batches: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, tuple[float, float]]:
    """The range of each activation by its name in the deployed file.

    Args:
      deployment: of `plan_deployment`.
      trained: ranges by group.
      float_model: the trained model, on which activations that were not simulated are observed.
      batches: inputs to observe them on.

    Returns:
      (min, max) by tensor name, for every activation whose range is not fixed by its arithmetic and that has values
      to read.
    """
    free = [a for a in deployment.activations if a.fixed is None]
    ranges = {a.name: trained[a.group] for a in free if a.group in trained}
    alone = [a for a in free if a.group not in trained]
    if not alone:
        return ranges
    reader = ActivationReader(float_model)
    for batch in batches:
        for start in range(0, len(next(iter(batch.values()))), _ROWS):
            values = reader({name: rows[start : start + _ROWS] for name, rows in batch.items()})
            for activation in alone:
                if activation.name not in values:
                    continue  # the runtime keeps no values of it
                value = values[activation.name]
                low, high = ranges.get(activation.name, (np.inf, -np.inf))
                ranges[activation.name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges


@dataclasses.dataclass(frozen=True)
class _QuantizedTensors:
    """What becomes integer in a file."""

    activations: tuple[ActivationTensor, ...]
    constants: tuple[DeployedConstant, ...]


def _mode(qat: QATOptions) -> str:
    quantized = [bits for _, bits in qat.overrides if bits != FLOAT]
    return static_mode([qat.weight_bits, *quantized], qat.activation_bits)


def _quantized_tensors(model: ModelFile, kept_float: tuple[str, ...], mode: str) -> _QuantizedTensors:
    activations = quantized_activations(model, keep_float=kept_float, mode=mode)
    options = QuantizationOptions(mode, keep_float=kept_float, engine=LITERT)
    return _QuantizedTensors(activations, quantized_constants(model, activations, options))


def _require_bits(kernel: DeployedKernel, wanted: int) -> None:
    """Refuses what the file would not keep; where LiteRT has no int4 kernel, four bits become eight."""
    name, found = kernel.site.variable.name, kernel.constant.bits
    if found < wanted:
        raise EdgeError(
            f'{name!r} is to have {wanted} bits, but a file with int4 weights gives every {kernel.constant.operator} '
            f'{found}; set weight_bits to {wanted} for all, or leave it float (overrides, exclude).'
        )
    if found > wanted:
        _LOG.info('%s: %d bits, for LiteRT has no int4 %s', name, found, kernel.constant.operator)


def _outputs_of(
    graph: ServingGraph,
    sites: Sequence[WeightSite],
    kernels: Mapping[str, DeployedKernel],
    constants: Sequence[DeployedConstant],
) -> tuple[str, ...]:
    """Expressions that match the outputs of the operators which use some weights, and nothing else."""
    outputs = {o for site in sites for k in [kernels.get(site.variable.key)] if k for o in k.constant.outputs}
    tables = {read for site in sites if site.variable.key not in kernels for read in site.variable.reads}
    if tables:
        matches = match_constants(graph, {constant.name: constant.values for constant in constants})
        for constant in constants:
            if tables & set(matches.get(constant.name, ())):
                outputs.update(constant.outputs)
    return tuple(sorted(f'^{re.escape(output)}$' for output in outputs))


def _simulated_activations(
    graph: ServingGraph,
    model: ModelFile,
    activations: Sequence[ActivationTensor],
    batch: Mapping[str, np.ndarray],
) -> list[SimulatedActivation]:
    inputs = {name: batch[name][:_ROWS] for name in graph.inputs}
    values = ActivationReader(model)(inputs)
    steps = with_batch_norms_in_steps(graph.graph_def)
    matches = match_tensors(
        graph, inputs, {a.name: values[a.name] for a in activations if a.name in values}, steps
    )
    return [
        SimulatedActivation(a.name, matches[a.name], a.group, a.fixed)
        for a in activations
        if a.name in matches
    ]


def _simulated_biases(
    graph: ServingGraph,
    kernels: Mapping[str, DeployedKernel],
    activations: Sequence[ActivationTensor],
    simulated: Sequence[SimulatedActivation],
) -> tuple[SimulatedBias, ...]:
    """The biases of the kernels whose input is simulated."""
    steps = with_batch_norms_in_steps(graph.graph_def)
    known = {activation.group for activation in simulated}
    group = {a.name: a.group for a in activations if a.group in known}
    ends = {activation.tensor for activation in simulated}
    found = (
        find_bias(graph, steps, kernel, group[kernel.constant.source], ends)
        for kernel in kernels.values()
        if kernel.constant.source in group
    )
    return tuple(bias for bias in found if bias is not None)


def _twice_rounded(
    kernels: Mapping[str, DeployedKernel],
    activations: Sequence[ActivationTensor],
    simulated: Sequence[SimulatedActivation],
) -> tuple[TwiceRounded, ...]:
    group = {activation.name: activation.group for activation in activations}
    known = {activation.group for activation in simulated}
    by_name = {activation.name: activation for activation in simulated}
    return tuple(
        TwiceRounded(output.tensor, output.group, group[kernel.constant.source], kernel)
        for kernel in kernels.values()
        if rounds_twice(kernel) and group.get(kernel.constant.source) in known
        for output in [by_name.get(name) for name in kernel.constant.outputs]
        if output is not None
    )


def _simulated_constants(
    graph: ServingGraph, constants: Sequence[DeployedConstant]
) -> tuple[list[SimulatedConstant], list[str]]:
    """The constants with one scale that the graph has, and the names of the others."""
    whole = [constant for constant in constants if constant.axis is None]
    steps = with_batch_norms_in_steps(graph.graph_def)
    matches = match_constants(graph, {constant.name: constant.values for constant in whole}, steps)
    found = [
        SimulatedConstant(c.name, matches[c.name], c.bits, c.symmetric) for c in whole if c.name in matches
    ]
    return found, [constant.name for constant in constants if constant.name not in matches]
