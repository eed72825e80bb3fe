"""A function of a loaded SavedModel as one graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2

from tfx_edge.components.core.dense_function.inlined_calls import CALLS, with_calls_inlined
from tfx_edge.components.core.tensor_names import producer

# How TensorFlow names the function that tensorflow_transform makes of its graph.
_TRANSFORM = re.compile(r'^(__inference_)?pruned_')
_READS = ('ReadVariableOp', 'ResourceGather')


def flat_graph(function: Any) -> graph_pb2.GraphDef:
    """The graph of a function with its calls inlined, except those that apply a transform graph.

    Args:
      function: a concrete function.

    Returns:
      A graph whose placeholders are the function's inputs and captures.
    """
    graph_def = function.graph.as_graph_def()
    functions = {item.signature.name: item for item in graph_def.library.function}
    transforms = {name for name in functions if _TRANSFORM.match(name) and not _reads(name, functions)}
    return with_calls_inlined(
        graph_def, [tensor.name for tensor in function.outputs], transforms.__contains__
    )


def applies_transform(operation: tf.Operation) -> bool:
    """Whether an operation of `flat_graph` applies a transform graph."""
    return operation.type in CALLS and bool(_TRANSFORM.match(operation.get_attr('f').name))


def part_between(
    graph_def: graph_pb2.GraphDef, given: Iterable[str], wanted: Iterable[str]
) -> graph_pb2.GraphDef:
    """The part of a graph that computes some of its tensors from others.

    Args:
      graph_def: the graph.
      given: names of tensors that are known; nodes that only they depend on are left out.
      wanted: names of tensors.

    Returns:
      A graph. Its nodes may take given tensors whose own nodes it does not hold.
    """
    nodes = {node.name: node for node in graph_def.node}
    known = {_tensor(name) for name in given}
    needed: set[str] = set()
    pending = [_tensor(name) for name in wanted]
    while pending:
        name = pending.pop()
        if name in known:
            continue
        node = nodes[producer(name)]
        if node.name not in needed:
            needed.add(node.name)
            pending += [_tensor(source) for source in node.input if not source.startswith('^')]
    part = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name in needed:
            copy = part.node.add()
            copy.CopyFrom(node)
            # Control inputs, such as a check of the inputs, do not change what the node computes.
            copy.input[:] = [source for source in node.input if not source.startswith('^')]
    return part


def captured_tensors(function: Any) -> dict[str, Any]:
    """What a concrete function captures, by the name of the placeholder that stands for it."""
    placeholders = function.inputs[len(function.inputs) - len(function.captured_inputs) :]
    return {tensor.name: value for tensor, value in zip(placeholders, function.captured_inputs, strict=True)}


def computed(
    part: graph_pb2.GraphDef, given: Mapping[str, tf.Tensor], wanted: Sequence[str], scope: str
) -> list[tf.Tensor]:
    """Puts a part of a graph into the function that is being traced.

    Args:
      part: of `part_between`.
      given: values by tensor name; those that no node takes are ignored.
      wanted: names of tensors, of the part or given.
      scope: in front of the names of its nodes.

    Returns:
      The tensors that are wanted.
    """
    used = used_tensors(part)
    taken = {name: value for name, value in given.items() if name in used}
    missing = [name for name in wanted if name not in given]
    found = dict(zip(missing, tf.graph_util.import_graph_def(part, taken, missing, name=scope), strict=True))
    return [given[name] if name in given else found[name] for name in wanted]


def used_tensors(graph_def: graph_pb2.GraphDef) -> set[str]:
    """Names of the tensors that a graph's nodes take, whether or not a node of the graph computes them."""
    return {_tensor(name) for node in graph_def.node for name in node.input if not name.startswith('^')}


def _tensor(name: str) -> str:
    return name if ':' in name else f'{name}:0'


def _reads(name: str, functions: dict[str, function_pb2.FunctionDef]) -> bool:
    """Whether a function reads variables, as models do and transform graphs do not."""
    pending, seen = [name], {name}
    while pending:
        for node in functions[pending.pop()].node_def:
            if node.op in _READS:
                return True
            called = [value.func.name for value in node.attr.values() if value.func.name in functions]
            pending += [other for other in called if other not in seen]
            seen.update(called)
    return False
