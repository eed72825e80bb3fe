"""A net with the same padding on all sides, which computes the same.

Where SAME padding has one row more after than before, the whole part is computed on the mirror image: an operator
REVERSE_V2 for each axis turns the input over, and every kernel is turned over too. A mean over height and width is
that of the image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer, inserted_names
from tfx_edge.components.core.litert.sparse.net import Net

_HEIGHT_AND_WIDTH = (1, 2)


def pad_evenly(graph: Net, operator: flatbuffer.schema.OperatorT, half: int) -> None:
    """Lets an operator PAD add the zeros around what a convolution reads, as many on all sides.

    Args:
      graph: of the operator; its file is changed in place.
      operator: a convolution with SAME padding, or with a PAD before it.
      half: rows and columns of zeros on each side.
    """
    pad = graph.pad_before(operator)
    source = graph.graph.tensors[graph.padded(operator)]
    amounts = np.array([(0, 0), (half, half), (half, half), (0, 0)], np.int32)
    held = _add_constant(graph, f'{flatbuffer.tensor_name(source)}/amounts', amounts)
    if pad is None:
        padded = copy.copy(source)
        padded.name, padded.buffer = (flatbuffer.tensor_name(source) + inserted_names.PADDED).encode(), 0
        options = flatbuffer.schema.BuiltinOptions.PadOptions, flatbuffer.schema.PadOptionsT()
        _insert(graph, 'PAD', operator, [graph.padded(operator), held], padded, options)
        operator.builtinOptions.padding = flatbuffer.schema.Padding.VALID
    else:
        padded = graph.graph.tensors[pad.outputs[0]]
        pad.inputs = [int(pad.inputs[0]), held]
    more = 2 * half * np.array([0, 1, 1, 0])
    padded.shape = [int(size) + int(rows) for size, rows in zip(source.shape, more, strict=True)]
    if source.shapeSignature is not None:
        sizes = zip(source.shapeSignature, more, strict=True)
        padded.shapeSignature = [int(size) + int(rows) if size >= 0 else -1 for size, rows in sizes]


def mirror(graph: Net, stem: flatbuffer.schema.OperatorT, kernels: Sequence[int]) -> None:
    """Lets a part of a net compute on the mirror image of its input.

    Args:
      graph: whose file is changed in place.
      stem: the convolution that reads the input, before `pad_evenly`.
      kernels: tensors with the kernels of all convolutions there that are larger than 1x1.
    """
    reader = graph.pad_before(stem) or stem
    source = graph.graph.tensors[reader.inputs[0]]
    # An operator for each: runtimes before TensorFlow 2.16 turn over the first axis alone.
    for axis in _HEIGHT_AND_WIDTH:
        name = flatbuffer.tensor_name(source)
        held = _add_constant(graph, f'{name}/axis_{axis}', np.array([axis], np.int32))
        mirrored = copy.copy(source)
        mirrored.name, mirrored.buffer = f'{name}{inserted_names.MIRRORED}_{axis}'.encode(), 0
        options = flatbuffer.schema.BuiltinOptions.ReverseV2Options, flatbuffer.schema.ReverseV2OptionsT()
        _insert(graph, 'REVERSE_V2', reader, [int(reader.inputs[0]), held], mirrored, options)
    for index in kernels:
        tensor = graph.graph.tensors[index]
        values = flatbuffer.constant(graph.content, tensor)
        assert values is not None
        tensor.buffer = _add_buffer(graph, np.flip(values, _HEIGHT_AND_WIDTH))


def is_only_read_by(graph: Net, kernel: int, operators: Sequence[flatbuffer.schema.OperatorT]) -> bool:
    """Whether nothing but these operators multiplies with a kernel."""
    known = {id(operator) for operator in operators}
    return all(
        id(operator) in known or graph.kind(operator) == 'DEQUANTIZE'
        for operator in graph.operators
        if kernel in (graph.held(int(index)) for index in operator.inputs if index >= 0)
    )


def _insert(
    graph: Net,
    kind: str,
    reader: flatbuffer.schema.OperatorT,
    inputs: list[int],
    output: flatbuffer.schema.TensorT,
    options: tuple[int, object],
) -> None:
    """Puts an operator before another one, which then reads what it yields first."""
    graph.graph.tensors.append(output)
    added = flatbuffer.schema.OperatorT()
    added.opcodeIndex = flatbuffer.operator_code(graph.content, kind)
    added.inputs, added.outputs = inputs, [len(graph.graph.tensors) - 1]
    added.builtinOptionsType, added.builtinOptions = options
    place = next(number for number, found in enumerate(graph.operators) if found is reader)
    graph.operators.insert(place, added)
    reader.inputs = [len(graph.graph.tensors) - 1, *map(int, reader.inputs[1:])]


def _add_constant(graph: Net, name: str, values: np.ndarray) -> int:
    tensor = flatbuffer.schema.TensorT()
    tensor.name, tensor.type, tensor.shape = (
        name.encode(),
        flatbuffer.schema.TensorType.INT32,
        list(values.shape),
    )
    tensor.buffer, tensor.hasRank = _add_buffer(graph, values), True
    graph.graph.tensors.append(tensor)
    return len(graph.graph.tensors) - 1


def _add_buffer(graph: Net, values: np.ndarray) -> int:
    buffer = flatbuffer.schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    graph.content.buffers.append(buffer)
    return len(graph.content.buffers) - 1
