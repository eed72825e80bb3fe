"""Which tensors of the graph stand for the integer tensors of the deployed file: each is recognized by its values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.activation_quantization import (
    SimulatedActivation,
    SimulatedConstant,
)
from tfx_edge.components.core.compression.bias_quantization import SimulatedBias, find_biases
from tfx_edge.components.core.compression.double_rounding import TwiceRounded, rounds_twice
from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.graph.tensor_matching import match_constants, match_tensors
from tfx_edge.components.core.compression.quantization_aware_training import DeployedArithmetic
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedConstant, DeployedKernel
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantized_activations import ActivationTensor

# What LiteRT runs at once.
ROWS = 8


@dataclasses.dataclass(frozen=True)
class IntegerTensors:
    """What becomes integer in a file.

    Attributes:
      activations: of the float file, those that its quantized file computes in integers.
      constants: kernels and other operands that are integers there.
    """

    activations: tuple[ActivationTensor, ...]
    constants: tuple[DeployedConstant, ...]


def simulated_arithmetic(
    graph: ServingGraph,
    model: ModelFile,
    kernels: Mapping[str, DeployedKernel],
    tensors: IntegerTensors,
    activation_bits: int,
    batch: Mapping[str, np.ndarray] | None,
) -> tuple[DeployedArithmetic, tuple[str, ...]]:
    """Finds the file's integer tensors in the graph.

    Args:
      graph: the incoming signature.
      model: its float file.
      kernels: the weights that are integers in the file, by variable key, of `match_kernels`.
      tensors: all that is integer in the file.
      activation_bits: of activations, 8 or 16.
      batch: real inputs by name, by whose values activations are recognized; None to leave activations float.

    Returns:
      What the training simulates, and the names of the file's integer tensors that the graph has no counterpart of.

    Example:
      ```
      arithmetic, unknown = simulated_arithmetic(graph, model, kernels, tensors, 8, next(batches))
      ```
    """
    taken = {kernel.constant.name for kernel in kernels.values()}
    others = [constant for constant in tensors.constants if constant.name not in taken]
    constants, unknown = _simulated_constants(graph, others)
    found: list[SimulatedActivation] = []
    if batch is not None:
        found = _simulated_activations(graph, model, tensors.activations, batch)
        groups = {activation.group for activation in found}
        unknown += [activation.name for activation in tensors.activations if activation.group not in groups]
    biases = _simulated_biases(graph, kernels, tensors.activations, found)
    twice = _twice_rounded(kernels, tensors.activations, found)
    arithmetic = DeployedArithmetic(kernels, tuple(found), tuple(constants), activation_bits, biases, twice)
    return arithmetic, tuple(unknown)


def outputs_of_weights(
    graph: ServingGraph,
    sites: Sequence[WeightSite],
    kernels: Mapping[str, DeployedKernel],
    constants: Sequence[DeployedConstant],
) -> tuple[str, ...]:
    """Regular expressions that match the outputs of the operators which use some weights, and nothing else.

    Args:
      graph: the incoming signature.
      sites: the weights.
      kernels: those of them, and others, that the file has as kernels, by variable key.
      constants: of the file.

    Returns:
      One for each output, in order of the names.
    """
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
    inputs = {name: batch[name][:ROWS] for name in graph.inputs}
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
    pairs = [
        (kernel, group[kernel.constant.source])
        for kernel in kernels.values()
        if kernel.constant.source in group
    ]
    return find_biases(graph, steps, pairs, ends)


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
