"""Kernels that a graph computes from its variables: weight normalization, masks, low-rank updates, standardization.

The converter computes each once, and ships the result. No variable holds such a kernel, so pruning or clustering the
variables makes it neither sparse nor clustered.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.graph_scopes import Scope, scopes
from tfx_edge.components.core.compression.graph.serving_graph import GraphVariable, ServingGraph
from tfx_edge.components.core.compression.weights.weight_operations import OPERATIONS, weight_operands
from tfx_edge.components.core.compression.weights.weight_path import trace_back
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite
from tfx_edge.components.core.tensor_names import producer

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ComputedKernel:
    """A kernel that is computed.

    Attributes:
      tensor: the graph's tensor that holds it.
      variables: trained variables that it is computed from, the largest first.
      op: TensorFlow's name of the operation that uses it.
      channel_axes: the kernel's axes, counted from the end, along which it has its scales in the file.
    """

    tensor: str
    variables: tuple[GraphVariable, ...]
    op: str
    channel_axes: tuple[int, ...]

    @property
    def name(self) -> str:
        """The variables it is computed from."""
        return ', '.join(variable.name for variable in self.variables)


def made_kernels(graph: ServingGraph) -> tuple[ComputedKernel, ...]:
    """The kernels and tables that a graph computes from trained variables by more than reshaping.

    Example:
      >>> [kernel.name for kernel in made_kernels(graph)]
      ['dense/kernel, dense/g']
    """
    found: dict[str, ComputedKernel] = {}
    for scope in scopes(graph.graph_def, graph.inputs.values()):
        for node in scope.nodes.values():
            if node.op not in OPERATIONS or node.name not in scope.dynamic:
                continue
            for operand in weight_operands(node):
                tensor = _computed_outside(scope, node.input[operand.position])
                variables = () if tensor is None else tuple(_variables_behind(graph, tensor))
                if tensor is not None and variables:
                    found.setdefault(tensor, ComputedKernel(tensor, variables, node.op, operand.channel_axes))
    return tuple(found.values())


def made_values(
    graph: ServingGraph, kernels: tuple[ComputedKernel, ...], values: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Computes kernels from given values of the variables.

    Args:
      graph: of the kernels.
      kernels: of `made_kernels`.
      values: by checkpoint key; variables not named keep their stored value.

    Returns:
      One array for each kernel.
    """
    if not kernels:
        return []
    # Not made inside of the function: as constants of its graph, large weights would be copied several times.
    tensors = {key: tf.constant(value) for key, value in values.items()}

    def computed() -> list[tf.Tensor]:
        return graph.call({}, tensors, [kernel.tensor for kernel in kernels])

    return [value.numpy() for value in tf.function(computed, autograph=False).get_concrete_function()()]


def report_computed_kernels(graph: ServingGraph, sites: tuple[WeightSite, ...], purpose: str) -> None:
    """Logs the kernels that a technique leaves as they are, as a warning where they hold most of the weights.

    Args:
      graph: the incoming signature.
      sites: its weights that the technique may take.
      purpose: what the technique does, such as 'prune'.
    """
    kernels = made_kernels(graph)
    if not kernels:
        return
    sizes = [value.size for value in made_values(graph, kernels, {})]
    others = sum(site.variable.value.size for site in sites)
    named = '; '.join(f'{kernel.name} ({size})' for kernel, size in zip(kernels, sizes, strict=True))
    share = sum(sizes) / (sum(sizes) + others)
    _LOG.log(
        logging.WARNING if share > 0.5 else logging.INFO,
        'nothing to %s in %d of %d weights (%.0f %%): the graph computes these kernels from variables, and the file '
        'holds what it computes: %s. Export the model with the computed kernels as its variables.',
        purpose,
        sum(sizes),
        sum(sizes) + others,
        100 * share,
        named,
    )


def _computed_outside(scope: Scope, tensor: str) -> str | None:
    """The graph's tensor of an operand that depends on no input and is no reshaped variable; None of any other."""
    if producer(tensor) in scope.dynamic or trace_back(scope, tensor) is not None:
        return None
    while producer(tensor) in scope.outer:
        scope, tensor = scope.outer[producer(tensor)]
    if scope.is_body or producer(tensor) in scope.dynamic:
        return None
    return tensor if ':' in tensor else f'{tensor}:0'


def _variables_behind(graph: ServingGraph, tensor: str) -> Iterator[GraphVariable]:
    """The trained variables that a tensor depends on."""
    nodes = {node.name: node for node in graph.graph_def.node}
    seen, pending = {producer(tensor)}, [producer(tensor)]
    while pending:
        for name in map(producer, nodes[pending.pop()].input):
            if name in nodes and name not in seen:
                seen.add(name)
                pending.append(name)
    for variable in sorted(graph.variables, key=lambda variable: -variable.value.size):
        if variable.exported_trainable and any(producer(read) in seen for read in variable.reads):
            yield variable
