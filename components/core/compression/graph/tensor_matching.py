"""Which tensor of the graph a tensor of the deployed file is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import dynamic_nodes

# Two runtimes sum in different orders; the difference is relative to the tensor's largest value.
_TOLERANCE = 1e-4


def match_tensors(
    graph: ServingGraph, inputs: Mapping[str, np.ndarray], deployed: Mapping[str, np.ndarray]
) -> dict[str, str]:
    """Finds, for each tensor of the deployed float model, the tensor of the graph with its values.

    A converter renames, fuses and reshapes, so tensors are told by their values on a batch. Among
    equal ones those count first whose node the deployed name mentions (a fused operation's name joins
    those of its parts by ';'), and of these the last, which is behind the activation.

    Args:
      graph: the signature.
      inputs: a batch by input name; real examples, so that different tensors differ.
      deployed: values on the same batch by the deployed tensor's name.

    Returns:
      The graph's tensor by deployed name; those without an equal are left out.
    """
    names = _float_candidates(graph)
    batch = {name: tf.constant(inputs[name]) for name in graph.inputs}
    fetched = tf.function(lambda: graph.call(batch, {}, names), autograph=False)()
    values = {
        name: value.numpy().ravel()
        for name, value in zip(names, fetched, strict=True)
        if value.dtype == tf.float32
    }
    matches = {}
    for deployed_name, deployed_value in deployed.items():
        equal = [name for name in values if _equal(values[name], deployed_value.ravel())]
        if equal:
            mentioned = [name for name in equal if _mentions(deployed_name, name)]
            matches[deployed_name] = mentioned[-1] if mentioned else equal[0]
    return matches


def _float_candidates(graph: ServingGraph) -> list[str]:
    """Tensors that depend on an input and are used, in the order of computation."""
    dynamic = dynamic_nodes(graph)
    used = {name.split(':')[0] for name in graph.outputs.values()}
    used.update(
        name.split(':')[0] for node in graph.graph_def.node for name in node.input if not name.startswith('^')
    )
    nodes = {node.name: node for node in graph.graph_def.node if node.name in dynamic & used}
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


def _equal(value: np.ndarray, deployed: np.ndarray) -> bool:
    if value.size != deployed.size or not value.size:
        return False
    largest = float(np.abs(deployed).max())
    return bool(np.abs(value - deployed).max() <= _TOLERANCE * max(largest, 1e-6))


def _mentions(deployed_name: str, tensor: str) -> bool:
    node = tensor.split(':')[0]
    parts = [part.split(':')[0] for part in deployed_name.split(';')]
    return any(part and (node == part or node.endswith('/' + part)) for part in parts)
