"""Where the operators that multiply with weights have their input, kernel and bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Operands:
    """What stands where among the inputs of an operator, as the LiteRT kernels read them.

    Attributes:
      source: position of the input, the activation.
      kernel: of the weights.
      bias: of the bias; the operator may have fewer inputs, or -1 there, and then has none.
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


def role(operator: str, position: int) -> str:
    """What a constant is to the operator that reads it.

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
