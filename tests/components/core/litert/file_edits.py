"""Tensors, operators and outputs added to a float file by hand, so that no test converts a model for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer

_schema = flatbuffer.schema


def add_tensor(
    content: Any, name: str, kind: str, shape: tuple[int, ...], values: np.ndarray | bytes | None = None
) -> int:
    """A tensor of the main graph, constant where it has values; -1 is an open size. Returns its index."""
    tensor = _schema.TensorT()
    tensor.name, tensor.type = name.encode(), getattr(_schema.TensorType, kind)
    tensor.shape = np.array([max(size, 1) for size in shape], np.int32)
    tensor.shapeSignature = np.array(shape, np.int32) if -1 in shape else None
    tensor.hasRank = True
    tensor.buffer = 0
    if values is not None:
        buffer = _schema.BufferT()
        raw = values if isinstance(values, bytes) else values.tobytes()
        buffer.data = np.frombuffer(raw, np.uint8)
        content.buffers.append(buffer)
        tensor.buffer = len(content.buffers) - 1
    content.subgraphs[0].tensors.append(tensor)
    return len(content.subgraphs[0].tensors) - 1


def add_operator(
    content: Any, kind: str, inputs: list[int], outputs: list[int], options: str, **values: int
) -> None:
    """An operator at the end of the main graph, with the fields of its options."""
    code = _schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(_schema.BuiltinOperator, kind)
    code.version = 1
    content.operatorCodes.append(code)
    operator = _schema.OperatorT()
    operator.opcodeIndex = len(content.operatorCodes) - 1
    operator.inputs, operator.outputs = inputs, outputs
    operator.builtinOptionsType = getattr(_schema.BuiltinOptions, options)
    operator.builtinOptions = getattr(_schema, f'{options}T')()
    for field, value in values.items():
        setattr(operator.builtinOptions, field, value)
    content.subgraphs[0].operators.append(operator)


def add_output(content: Any, name: str, index: int) -> None:
    """An output of the file and of its signature."""
    entry = _schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    content.signatureDefs[0].outputs.append(entry)
    graph = content.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, index], np.int32)


def add_class(content: Any, source: int) -> None:
    """An output `class`, the place of the largest value in each row of a tensor."""
    axis = add_tensor(content, 'class/axis', 'INT32', (), np.array(1, np.int32))
    index = add_tensor(content, 'class', 'INT64', (-1,))
    int64 = _schema.TensorType.INT64
    add_operator(content, 'ARG_MAX', [source, axis], [index], 'ArgMaxOptions', outputType=int64)
    add_output(content, 'class', index)


def strings(texts: Sequence[bytes]) -> bytes:
    """The buffer of a tensor of strings: how many, where each begins and the last ends, and all of them."""
    ends = np.cumsum([0, *map(len, texts)]) + 4 * (len(texts) + 2)
    return struct.pack(f'<{len(texts) + 2}i', len(texts), *ends.tolist()) + b''.join(texts)


def without_signatures(model: bytes) -> bytes:
    """The file as a converter before TensorFlow 2.5 wrote it."""
    content = flatbuffer.read(model)
    content.signatureDefs = []
    return flatbuffer.write(content)
