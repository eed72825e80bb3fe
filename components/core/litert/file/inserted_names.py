"""The names of the tensors that a quantization adds: the float file's name, and an ending for what was done."""

from __future__ import annotations

import re
from collections.abc import Collection

# What quantizes a float tensor or makes an integer one float again, as litert-quantizer names them.
QUANTIZED = '_quantized'
DEQUANTIZED = '_dequant'
# From one scale to another.
REQUANTIZED = '_requant'
# A constant of which two operators need different versions.
DUPLICATED = '_duplicated'
# The uint8 tensor before an int8 input, or behind an int8 output.
UINT8 = '_uint8'
# A sparse kernel with its zeros filled in; an activation with zeros around it, and one turned over.
DENSIFIED = '_densified'
PADDED = '_padded'
MIRRORED = '_mirrored'
# Inputs and outputs in the 16-bit path of TensorFlow's converter, which this project takes off again.
INT16 = '_int16'

# A number makes a name unique.
_ENDINGS = (QUANTIZED, DEQUANTIZED, UINT8, REQUANTIZED, DUPLICATED, DENSIFIED, PADDED, MIRRORED)
_INSERTED = re.compile(rf'({"|".join(_ENDINGS)}|_\d+)$')


def without_quantized(name: str) -> str:
    """A tensor's name without the ending that marks a quantized float tensor.

    Example:
      >>> without_quantized('dense/Relu_quantized')
      'dense/Relu'
    """
    return name.removesuffix(QUANTIZED)


def origin(name: str, known: Collection[str]) -> str | None:
    """The tensor of the float file that a tensor was named after.

    Args:
      name: of a tensor in a quantized file.
      known: names of the float file's tensors.

    Returns:
      One of `known`, or None.

    Example:
      >>> origin('dense/Relu_quantized_1', {'dense/Relu'})
      'dense/Relu'
    """
    while name not in known and _INSERTED.search(name):
        name = _INSERTED.sub('', name)
    return name if name in known else None
