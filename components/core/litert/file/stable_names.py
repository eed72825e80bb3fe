"""Tensor names that are unique, and depend on the graph but not on the weights."""

from __future__ import annotations

import re
from collections.abc import Set

from tfx_edge.components.core.litert.file import flatbuffer, operands

# What the converter calls the outputs of a signature, which names no layer.
_CALL = re.compile(r'(Stateful)?PartitionedCall')
_OUTPUT = re.compile(r'(?:Stateful)?PartitionedCall(?:_\d+)?(:\d+)')
_OUTPUT_NAME = 'StatefulPartitionedCall'
# The function calls around a layer depend on the exporter, and are no part of the layer's name.
_CALLS_BEFORE = re.compile(r'^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+')


def make_stable(content: flatbuffer.schema.ModelT, nodes: Set[str]) -> None:
    """Renames the tensors of a float file.

    The converter joins the names of all operators that became one, the constants' among them, and makes the
    result unique by a number, counting constants and activations together. Equal constants become one. So the
    name of an activation changes with the weights, and ranges from before a training would not be found after
    it. Here an activation is named after the operator that yields it and numbered in order of execution, a constant
    after the first operator that uses it, or after its own when that one yields an output of the signature.

    Args:
      content: of a `.tflite` file; changed in place.
      nodes: the names of all nodes of the TensorFlow graph that it was converted from.
    """
    taken: set[str] = set()
    for graph in content.subgraphs:
        executed = [*graph.inputs, *(i for operator in graph.operators for i in operator.outputs)]
        for index in executed:
            _rename(graph.tensors[index], _own_name(graph.tensors[index], nodes), taken)
        named = set(executed)
        for operator in graph.operators:
            for position, index in enumerate(operator.inputs):
                if index < 0 or index in named:
                    continue
                named.add(index)
                user = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
                if _CALL.match(user):
                    own = _node_name(graph.tensors[index], nodes)
                    user = _without_calls(own) if own in nodes else user
                kind = flatbuffer.operator_name(content, operator)
                _rename(graph.tensors[index], f'{user}/{operands.role(kind, position)}', taken)
        for index, tensor in enumerate(graph.tensors):
            if index not in named:
                _rename(tensor, _own_name(tensor, nodes), taken)


def _own_name(tensor: flatbuffer.schema.TensorT, nodes: Set[str]) -> str:
    return _without_calls(_node_name(tensor, nodes))


def _without_calls(name: str) -> str:
    """The name without the function calls around a layer, which depend on the exporter."""
    output = _OUTPUT.fullmatch(name)
    return f'{_OUTPUT_NAME}{output[1]}' if output else _CALLS_BEFORE.sub('', name)


def _node_name(tensor: flatbuffer.schema.TensorT, nodes: Set[str]) -> str:
    """The first of the joined names, without the number that made them unique."""
    joined = flatbuffer.tensor_name(tensor).split(';')
    if len(joined) > 1:
        return joined[0]
    name = joined[0]
    numberless = name.rstrip('0123456789')
    for end in range(len(name), len(numberless) - 1, -1):
        if name[:end] in nodes:
            return name[:end]
    return name


def _rename(tensor: flatbuffer.schema.TensorT, name: str, taken: set[str]) -> None:
    name = name or 'tensor'
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f'{name}_{number}'
    taken.add(unique)
    tensor.name = unique.encode()
