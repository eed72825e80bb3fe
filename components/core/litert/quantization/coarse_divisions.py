"""Divisions whose output has steps so coarse that LiteRT's integer kernel answers them wrong.

The kernel shifts its quotient right by 30 bits and more. Where the quotient of a small numerator and a large divisor is
far below one step of the output, that is 32 bits or more, by which a processor does not shift: the kernel then gives
any value of the output's range instead of 0. An output that shares the scale of a wider tensor, such as of a
concatenation, has such steps, and so has one with a few large quotients.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.integer_types import activation_scale
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.quantization.modes import activation_bits
from tfx_edge.components.core.log_once import log_once

_LOG = logging.getLogger(__name__)
# By which int32 can be shifted.
_MOST_BITS = 31

Range = tuple[float, float]


def coarse_divisions(
    content: flatbuffer.schema.ModelT, ranges: Mapping[str, Range], mode: str
) -> tuple[str, ...]:
    """The divisions that LiteRT's integer kernel would answer wrong.

    Args:
      content: a float model.
      ranges: (minimum, maximum) that each activation takes, by name of those that become integers.
      mode: one with integer activations.

    Returns:
      The names of their outputs, in order of execution; each is named in the log.

    Example:
      >>> content = flatbuffer.read(pathlib.Path('digits.tflite').read_bytes())
      >>> coarse_divisions(content, {'image': (0.0, 1.0)}, 'INT8')  # it divides nothing
      ()
    """
    found = []
    for graph in content.subgraphs:
        for operator in graph.operators:
            if flatbuffer.operator_name(content, operator) != 'DIV':
                continue
            operands = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs)]
            numerator, divisor, quotient = (_range(content, tensor, ranges) for tensor in operands)
            if numerator is None or divisor is None or quotient is None:
                continue
            if _shift(numerator, divisor, quotient, activation_bits(mode)) > _MOST_BITS:
                found.append(flatbuffer.tensor_name(operands[-1]))
                log_once(
                    _LOG,
                    logging.WARNING,
                    "DIV %r stays float: in integer steps of its range %g to %g LiteRT's kernel answers the smallest "
                    'quotients wrong',
                    found[-1].split(';')[0],
                    *quotient,
                )
    return tuple(found)


def _range(
    content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT, ranges: Mapping[str, Range]
) -> Range | None:
    """With 0 in it; of a constant too. None of what stays float."""
    limits = ranges.get(flatbuffer.tensor_name(tensor))
    value = flatbuffer.constant(content, tensor)
    if limits is None and value is not None and value.size:
        limits = float(np.min(value)), float(np.max(value))
    return None if limits is None else (min(limits[0], 0.0), max(limits[1], 0.0))


def _shift(numerator: Range, divisor: Range, quotient: Range, bits: int) -> int:
    """By how many bits the kernel shifts the smallest numerator, divided by the largest divisor, to the right."""
    of_numerator, of_divisor, of_quotient = (
        activation_scale(*limits, bits) for limits in (numerator, divisor, quotient)
    )
    if not (of_numerator and of_divisor and of_quotient):
        return 0
    # One step; minus one has a leading sign bit more. The kernel changes both signs where the divisor is negative.
    headroom = 31 if min(numerator[0], divisor[0]) < 0 else 30
    largest_divisor = math.floor(max(-divisor[0], divisor[1]) / of_divisor + 0.5).bit_length() - 1
    return headroom + largest_divisor - math.frexp(of_numerator / (of_divisor * of_quotient))[1]
