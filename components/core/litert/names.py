"""Tensor names that are unique, and depend on the graph but not on the weights."""

from __future__ import annotations

import re

from tfx_edge.components.core.litert import flatbuffer

# What the converter calls a constant that it made by folding others.
_NAMELESS = re.compile(r'(arith\.constant|std\.constant|tfl\.pseudo_q?const|cst)\d*')


def with_stable_names(model: bytes) -> bytes:
    """Renames the tensors of a float file.

    The converter joins the names of all operators that became one, the constants' among them, and makes the
    result unique by a number, counting constants and activations together. Equal constants become one. So the
    name of an activation changes with the weights, and ranges from before a training would not be found after
    it. Here an activation is named after the operator that yields it, and numbered in order of execution.

    Args:
      model: bytes of a `.tflite` file.

    Returns:
      The file with other names.

    Raises:
      EdgeError: the file is damaged.
    """
    content = flatbuffer.read(model)
    present = {flatbuffer.tensor_name(t) for graph in content.subgraphs for t in graph.tensors}
    taken: set[str] = set()
    for graph in content.subgraphs:
        executed = [*graph.inputs, *(i for operator in graph.operators for i in operator.outputs)]
        for index in executed:
            _rename(graph.tensors[index], _own_name(graph.tensors[index], present), taken)
        named = set(executed)
        for operator in graph.operators:
            for position, index in enumerate(operator.inputs):
                if index < 0 or index in named:
                    continue
                named.add(index)
                name = _own_name(graph.tensors[index], present)
                if _NAMELESS.fullmatch(name) or name in taken:
                    maker = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
                    name = f'{maker}/operand_{position}'
                _rename(graph.tensors[index], name, taken)
        for index, tensor in enumerate(graph.tensors):
            if index not in named:
                _rename(tensor, _own_name(tensor, present), taken)
    return flatbuffer.write(content)


def _own_name(tensor: flatbuffer.schema.TensorT, present: set[str]) -> str:
    """The first of the joined names, without the number that was appended because the rest was taken."""
    name = flatbuffer.tensor_name(tensor)
    shorter = name.rstrip('0123456789')
    while len(shorter) < len(name):
        if shorter in present:
            return shorter.split(';')[0]
        shorter = name[: len(shorter) + 1]
    return name.split(';')[0]


def _rename(tensor: flatbuffer.schema.TensorT, name: str, taken: set[str]) -> None:
    name = name or 'tensor'
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f'{name}_{number}'
    taken.add(unique)
    tensor.name = unique.encode()
