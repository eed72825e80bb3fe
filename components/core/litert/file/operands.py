"""Where the operators that multiply with weights have their input, kernel and bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from tfx_edge.components.core.litert.file import flatbuffer


@dataclasses.dataclass(frozen=True)
class Operands:
    """The positions of an operator's inputs, as the LiteRT kernels read them.

    Attributes:
      source: position of the input, the activation.
      kernel: position of the weights.
      bias: position of the bias; an operator with fewer inputs, or with -1 there, has none.
      channel_axis: the kernel's axis that counts output channels.
    """

    source: int = 0
    kernel: int = 1
    bias: int = 2
    channel_axis: int = 0

    def bias_index(self, inputs: Sequence[int]) -> int | None:
        """The tensor that is the bias.

        Args:
          inputs: of an operator, indices of tensors.

        Returns:
          Its index, or None without a bias.

        Example:
          >>> OPERANDS['CONV_2D'].bias_index([0, 1, -1])
        """
        if self.bias >= len(inputs) or inputs[self.bias] < 0:
            return None
        return int(inputs[self.bias])


# By the operator's name in the format.
OPERANDS = {
    'CONV_2D': Operands(),
    'DEPTHWISE_CONV_2D': Operands(channel_axis=3),
    'FULLY_CONNECTED': Operands(),
    # The first input holds the shape of the output.
    'TRANSPOSE_CONV': Operands(source=2, bias=3),
    'CONV_3D': Operands(channel_axis=4),
}


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedOperator:
    """An operator of a file that multiplies with weights.

    Attributes:
      kind: its name in the format, such as 'CONV_2D'.
      operator: the operator itself.
      operands: what stands where among its inputs.
    """

    kind: str
    operator: flatbuffer.schema.OperatorT
    operands: Operands

    @property
    def source(self) -> int:
        """Index of the tensor that is multiplied."""
        return int(self.operator.inputs[self.operands.source])

    @property
    def kernel(self) -> int:
        """Index of the tensor of weights."""
        return int(self.operator.inputs[self.operands.kernel])

    @property
    def bias(self) -> int | None:
        """Index of the tensor that is added; None without one."""
        return self.operands.bias_index(self.operator.inputs)


def weighted_operators(
    content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT
) -> Iterator[WeightedOperator]:
    """The operators of a graph that multiply with weights, in order of execution.

    Args:
      content: a model.
      graph: one of its subgraphs.

    Example:
      >>> [found.kind for found in weighted_operators(content, content.subgraphs[0])]
      ['CONV_2D', 'FULLY_CONNECTED']
    """
    for operator in graph.operators:
        kind = flatbuffer.operator_name(content, operator)
        if kind in OPERANDS:
            yield WeightedOperator(kind, operator, OPERANDS[kind])


def role(operator: str, position: int) -> str:
    """The role of a constant in the operator that reads it.

    Args:
      operator: its name in the format.
      position: of the constant among the operator's inputs.

    Returns:
      'kernel', 'bias', or 'operand_3' and the like.

    Example:
      >>> role('TRANSPOSE_CONV', 3)
      'bias'
    """
    operands = OPERANDS.get(operator)
    names = {operands.kernel: 'kernel', operands.bias: 'bias'} if operands else {}
    return names.get(position, f'operand_{position}')
