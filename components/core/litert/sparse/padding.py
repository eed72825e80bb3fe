"""How many zeros a convolution of a file reads around its input, and SAME padding written as an operator PAD."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer, inserted_names

# Before and after, of height and of width.
Around = tuple[tuple[int, int], tuple[int, int]]


def same_around(size: Sequence[int | None], kernel: Sequence[int], stride: Sequence[int]) -> Around | None:
    """What SAME padding adds (TensorFlow, `tf.nn.convolution`).

    Args:
      size: height and width of the input.
      kernel: of the kernel.
      stride: in both directions.

    Returns:
      Rows and columns of zeros; None where a size is open.

    Example:
      >>> same_around((224, 224), (3, 3), (2, 2))
      ((0, 1), (0, 1))
    """
    found = []
    for length, taps, step in zip(size, kernel, stride, strict=True):
        if length is None:
            return None
        total = max((-(-length // step) - 1) * step + taps - length, 0)
        found.append((total // 2, total - total // 2))
    return found[0], found[1]


def of_pad(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> Around | None:
    """What an operator PAD adds.

    Args:
      content: a model.
      graph: one of its graphs.
      operator: a PAD of that graph.

    Returns:
      Rows and columns; None where it pads something else too, or by amounts that the file does not hold.
    """
    amounts = flatbuffer.constant(content, graph.tensors[operator.inputs[1]])
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return None
    (top, bottom), (left, right) = ((int(before), int(after)) for before, after in amounts[1:3])
    return (top, bottom), (left, right)


def write_out(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
    around: Around,
) -> None:
    """Lets an operator PAD add the zeros that a convolution with SAME padding adds; its results stay the same.

    Args:
      content: a model, changed in place.
      graph: one of its graphs.
      operator: a convolution of that graph.
      around: what its SAME padding adds.
    """
    source = graph.tensors[operator.inputs[0]]
    padded = copy.copy(source)
    padded.name = (flatbuffer.tensor_name(source) + inserted_names.PADDED).encode()
    padded.buffer = 0
    rows = [0, sum(around[0]), sum(around[1]), 0]
    padded.shape = [int(size) + more for size, more in zip(source.shape, rows, strict=True)]
    if source.shapeSignature is not None:
        sizes = zip(source.shapeSignature, rows, strict=True)
        padded.shapeSignature = [int(size) + more if size >= 0 else -1 for size, more in sizes]
    amounts = np.array([(0, 0), *around, (0, 0)], np.int32)
    buffer = flatbuffer.schema.BufferT()
    buffer.data = np.frombuffer(amounts.tobytes(), np.uint8)
    content.buffers.append(buffer)
    held = flatbuffer.schema.TensorT()
    held.name, held.type, held.shape = padded.name + b'/amounts', flatbuffer.schema.TensorType.INT32, [4, 2]
    held.buffer, held.hasRank = len(content.buffers) - 1, True
    graph.tensors += [padded, held]
    pad = flatbuffer.schema.OperatorT()
    pad.opcodeIndex = flatbuffer.operator_code(content, 'PAD')
    pad.inputs = [int(operator.inputs[0]), len(graph.tensors) - 1]
    pad.outputs = [len(graph.tensors) - 2]
    pad.builtinOptionsType, pad.builtinOptions = (
        flatbuffer.schema.BuiltinOptions.PadOptions,
        flatbuffer.schema.PadOptionsT(),
    )
    graph.operators.insert(_place(graph, operator), pad)
    operator.inputs = [len(graph.tensors) - 2, *map(int, operator.inputs[1:])]
    operator.builtinOptions.padding = flatbuffer.schema.Padding.VALID


def _place(graph: flatbuffer.schema.SubGraphT, operator: flatbuffer.schema.OperatorT) -> int:
    return next(number for number, found in enumerate(graph.operators) if found is operator)
