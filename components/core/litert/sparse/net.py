"""The first graph of a file, with what the rules of sparse inference ask of its operators."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import behind_unpacking
from tfx_edge.components.core.litert.sparse import padding

# Of what a stem reads.
STEM_CHANNELS = 3


class Net:
    """The first graph of a file, with what judges of operators ask.

    Attributes:
      content: of the file.
      graph: the graph.
      outputs: its outputs.
    """

    def __init__(self, content: flatbuffer.schema.ModelT) -> None:
        self.content = content
        self.graph = content.subgraphs[0]
        self.outputs = frozenset(map(int, self.graph.outputs))
        self._readers: dict[int, list[flatbuffer.schema.OperatorT]] = {}
        self._makers: dict[int, flatbuffer.schema.OperatorT] = {}
        for operator in self.graph.operators:
            for index in operator.inputs:
                self._readers.setdefault(int(index), []).append(operator)
            for index in operator.outputs:
                self._makers[int(index)] = operator

    @property
    def operators(self) -> list[flatbuffer.schema.OperatorT]:
        """In order of execution."""
        return self.graph.operators

    def kind(self, operator: flatbuffer.schema.OperatorT) -> str:
        """Its name in the format."""
        return flatbuffer.operator_name(self.content, operator)

    def name(self, operator: flatbuffer.schema.OperatorT) -> str:
        """Its name in the format and that of its output, for an error."""
        output = self.tensor_name(int(operator.outputs[0])) if len(operator.outputs) else ''
        return f'{self.kind(operator)} {output!r}'

    def tensor_name(self, index: int) -> str:
        """The first of a tensor's names."""
        return flatbuffer.tensor_name(self.graph.tensors[index]).split(';')[0]

    def readers(self, index: int) -> list[flatbuffer.schema.OperatorT]:
        """The operators that read a tensor."""
        return self._readers.get(index, [])

    def activations(self, operator: flatbuffer.schema.OperatorT) -> list[int]:
        """What it reads that is no constant."""
        read = [int(index) for index in operator.inputs if index >= 0]
        return [index for index in read if self.held(index) is None]

    def held(self, index: int) -> int | None:
        """The tensor that holds the values of an operand, also where they are unpacked; None for an activation."""
        found = behind_unpacking(self.content, self._makers, index)
        return found if flatbuffer.is_constant(self.content, self.graph.tensors[found]) else None

    def held_kernel(self, operator: flatbuffer.schema.OperatorT) -> int:
        """The tensor that holds a convolution's kernel, which is constant."""
        held = self.held(int(operator.inputs[1]))
        assert held is not None
        return held

    def reads_pooled(self, operator: flatbuffer.schema.OperatorT) -> bool:
        """Whether all that it reads has one row and one column."""
        shapes = [self.shape(index) for index in self.activations(operator)]
        return bool(shapes) and all(len(shape) == 4 and shape[1:3] == (1, 1) for shape in shapes)

    def shape(self, index: int) -> tuple[int | None, ...]:
        """A tensor's shape, None for each dimension left open."""
        return flatbuffer.shape(self.graph.tensors[index])

    def kernel(self, operator: flatbuffer.schema.OperatorT) -> np.ndarray | None:
        """The values of a convolution's kernel; None where the file does not hold them."""
        held = self.held(int(operator.inputs[1]))
        return None if held is None else flatbuffer.constant(self.content, self.graph.tensors[held])

    def strides(self, operator: flatbuffer.schema.OperatorT) -> tuple[int, int]:
        """Of a convolution, in height and width."""
        return int(operator.builtinOptions.strideH), int(operator.builtinOptions.strideW)

    def is_same(self, operator: flatbuffer.schema.OperatorT) -> bool:
        """Whether a convolution has SAME padding."""
        return operator.builtinOptions.padding == flatbuffer.schema.Padding.SAME

    def is_convolution(self, operator: flatbuffer.schema.OperatorT) -> bool:
        """Whether it multiplies with a kernel as the sparse part does."""
        return self.kind(operator) in ('CONV_2D', 'DEPTHWISE_CONV_2D')

    def looks_like_stem(self, operator: flatbuffer.schema.OperatorT) -> bool:
        """Whether XNNPACK might begin with it, whatever else may be wrong with it."""
        if self.kind(operator) != 'CONV_2D':
            return False
        kernel = self.shape(int(operator.inputs[1]))
        return kernel[1:] == (3, 3, STEM_CHANNELS) and self.strides(operator) == (2, 2)

    def takes_mean(self, reader: flatbuffer.schema.OperatorT, *, kept: bool) -> bool:
        """Whether an operator reads a mean right that XNNPACK computed in the sparse part.

        Args:
          reader: behind the part.
          kept: the mean has one row and one column.
        """
        kind = self.kind(reader)
        if kind == 'FULLY_CONNECTED':
            return not reader.builtinOptions.keepNumDims
        is_fixed = (
            kind == 'RESHAPE' and len(reader.inputs) > 1 and self.held(int(reader.inputs[1])) is not None
        )
        return not kept or is_fixed

    def pad_before(self, operator: flatbuffer.schema.OperatorT) -> flatbuffer.schema.OperatorT | None:
        """The operator PAD whose zeros a convolution without padding of its own takes for its padding."""
        before = None if self.is_same(operator) else self._makers.get(int(operator.inputs[0]))
        if before is None or self.kind(before) != 'PAD':
            return None
        padded = int(before.outputs[0])
        return before if len(self.readers(padded)) == 1 and padded not in self.outputs else None

    def padded(self, operator: flatbuffer.schema.OperatorT) -> int:
        """The tensor around which a convolution, or the PAD before it, has zeros."""
        before = self.pad_before(operator)
        return int((operator if before is None else before).inputs[0])

    def around(self, operator: flatbuffer.schema.OperatorT, kernel: np.ndarray) -> padding.Around | None:
        """The zeros around what a convolution reads; None where sizes are open."""
        size = self.shape(self.padded(operator))[1:3]
        if self.is_same(operator):
            return padding.same_around(size, kernel.shape[1:3], self.strides(operator))
        before = self.pad_before(operator)
        return ((0, 0), (0, 0)) if before is None else padding.of_pad(self.content, self.graph, before)

    def is_even(self, operator: flatbuffer.schema.OperatorT, *, mirrored: bool) -> bool:
        """Whether a convolution yields the same with even padding; see `padding.is_even`."""
        kernel = self.kernel(operator)
        assert kernel is not None
        size, around = self.shape(self.padded(operator))[1:3], self.around(operator, kernel)
        return padding.is_even(around, size, kernel.shape[1], self.strides(operator)[0], mirrored=mirrored)
