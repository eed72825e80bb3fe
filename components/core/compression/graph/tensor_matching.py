"""Which tensor of the graph a tensor of the deployed file is."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfx_edge.components.core.compression.graph.graph_scopes import scopes
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.tensor_names import producer

_LOG = logging.getLogger(__name__)
# Two runtimes sum in different orders; the difference is relative to the tensor's largest value.
_TOLERANCE = 1e-4
# Constants differ only by the order in which they are folded.
_CONSTANT_TOLERANCE = 1e-5


def match_tensors(
    graph: ServingGraph,
    inputs: Mapping[str, np.ndarray],
    deployed: Mapping[str, np.ndarray],
    graph_def: graph_pb2.GraphDef | None = None,
) -> dict[str, str]:
    """Finds, for each tensor of the deployed float model, the tensor of the graph with its values.

    A converter renames, fuses and reshapes, so tensors are matched by their values on a batch. Among
    equal ones those are preferred whose node the deployed name mentions (a fused operation's name joins
    those of its parts by ';'), and of these the last, which is behind the activation. A tensor of one value
    throughout, which matches anything, is matched by its name, or where one tensor alone equals it.

    Args:
      graph: the signature.
      inputs: a batch by input name; real examples, so that different tensors differ.
      deployed: values on the same batch by the deployed tensor's name.
      graph_def: the graph to search, made from the signature's; None for the signature's.

    Returns:
      The graph's tensor by deployed name; those without an equal are left out.
    """
    _LOG.info('looking for %d tensors of the file in the graph', len(deployed))
    graph_def = graph_def or graph.graph_def
    names = _float_candidates(graph, graph_def)
    batch = {name: tf.constant(inputs[name]) for name in graph.inputs}
    fetched = tf.function(
        lambda: graph.call(batch, {}, names, graph_def=graph_def), autograph=False
    ).get_concrete_function()()
    values = {
        name: value.numpy().ravel()
        for name, value in zip(names, fetched, strict=True)
        if value.dtype == tf.float32
    }
    matches = {}
    for deployed_name, deployed_value in deployed.items():
        equal = [name for name in values if _equal(values[name], deployed_value.ravel(), _TOLERANCE)]
        mentioned = [name for name in equal if _mentions(deployed_name, name)]
        if mentioned:
            matches[deployed_name] = mentioned[-1]
        elif equal and (len(equal) == 1 or np.ptp(deployed_value) > 0):
            matches[deployed_name] = equal[0]
    return matches


def match_constants(
    graph: ServingGraph, deployed: Mapping[str, np.ndarray], graph_def: graph_pb2.GraphDef | None = None
) -> dict[str, tuple[str, ...]]:
    """Finds, for each constant of the deployed float model, the tensors of the graph with its values.

    Candidates depend on no input and are used by something that does; so they hold what the converter folds into one
    constant.

    Args:
      graph: the signature.
      deployed: values by the constant's name.
      graph_def: the graph to search, made from the signature's; None for the signature's.

    Returns:
      The graph's tensors by the constant's name; those without an equal are left out.

    Example:
      >>> match_constants(graph, {'batch_normalization/mul': factors})
      {'batch_normalization/mul': ('batch_normalization/batchnorm/mul:0',)}
    """
    graph_def = graph_def or graph.graph_def
    names = _static_candidates(graph, graph_def)
    fetched = tf.function(
        lambda: graph.call({}, {}, names, graph_def=graph_def), autograph=False
    ).get_concrete_function()()
    values = {
        name: value.numpy().ravel()
        for name, value in zip(names, fetched, strict=True)
        if value.dtype == tf.float32
    }
    matches = {}
    for deployed_name, deployed_value in deployed.items():
        flat = deployed_value.ravel()
        equal = tuple(name for name in values if _equal(values[name], flat, _CONSTANT_TOLERANCE))
        if equal:
            matches[deployed_name] = equal
    return matches


def _static_candidates(graph: ServingGraph, graph_def: graph_pb2.GraphDef) -> list[str]:
    """Tensors that depend on no input, and that nodes which do use."""
    scope = next(scopes(graph_def, graph.inputs.values()))
    used = (
        name
        for node in graph_def.node
        if node.name in scope.dynamic
        for name in node.input
        if not name.startswith('^') and producer(name) not in scope.dynamic
    )
    resources = {'Placeholder', 'VarHandleOp'}
    return list(
        dict.fromkeys(
            name if ':' in name else f'{name}:0'
            for name in used
            if scope.nodes[producer(name)].op not in resources
        )
    )


def _float_candidates(graph: ServingGraph, graph_def: graph_pb2.GraphDef) -> list[str]:
    """Tensors that depend on an input and are used, in the order of computation."""
    dynamic = next(scopes(graph_def, graph.inputs.values())).dynamic
    used = {name.split(':')[0] for name in graph.outputs.values()}
    used.update(
        name.split(':')[0] for node in graph_def.node for name in node.input if not name.startswith('^')
    )
    nodes = {node.name: node for node in graph_def.node if node.name in dynamic & used}
    ordered: list[str] = []
    placed: set[str] = set()

    def place(first: str) -> None:
        pending = [first]
        while pending:
            name = pending[-1]
            before = [i.lstrip('^').split(':')[0] for i in nodes[name].input]
            waiting = [other for other in before if other in nodes and other not in placed]
            if waiting:
                pending += waiting
                continue
            pending.pop()
            if name not in placed:
                placed.add(name)
                ordered.append(f'{name}:0')

    for name in nodes:
        place(name)
    return ordered


def _equal(value: np.ndarray, deployed: np.ndarray, tolerance: float) -> bool:
    if value.size != deployed.size or not value.size:
        return False
    largest = float(np.abs(deployed).max())
    return bool(np.abs(value - deployed).max() <= tolerance * max(largest, 1e-6))


def _mentions(deployed_name: str, tensor: str) -> bool:
    node = tensor.split(':')[0]
    parts = [part.split(':')[0] for part in deployed_name.split(';')]
    return any(part and (node == part or node.endswith('/' + part)) for part in parts)
