"""The quantization modes: a row for each, which holds all that is particular to it.

A new mode is a row here and a name in `proto.Quantization.Mode`. The words are those of the LiteRT quantizer: static,
dynamic and weight-only quantization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfx_edge.components.core.errors import EdgeError

INT8 = 'INT8'
# Where operators compute: in integers over calibrated ranges; in integers over ranges that the kernel finds while it
# runs; in float, on weights that are dequantized first; as the converter left them.
STATIC, DYNAMIC, WEIGHT_ONLY, UNCHANGED = 'STATIC', 'DYNAMIC', 'WEIGHT_ONLY', 'UNCHANGED'
# The operators that a row of weights names no other type for; litert-quantizer's own sign.
OTHERS = '*'

_INT8_WEIGHTS = {OTHERS: 'INT8'}
# Where LiteRT has kernels for weights of four bits; other weights take eight.
_INT4_WEIGHTS = {OTHERS: 'INT8', 'CONV_2D': 'INT4', 'FULLY_CONNECTED': 'INT4'}
_BITS = {'INT4': 4, 'INT8': 8, 'FLOAT16': 16, 'FLOAT32': 32}
# They act on what quantization loses, and float16 loses next to nothing.
_AGAINST_LOSS = ('equalize', 'correct_bias', 'report_sensitivity', 'float_budget_bytes')


@dataclasses.dataclass(frozen=True)
class Mode:
    """All that is particular to a mode.

    Attributes:
      name: in `QuantizationOptions` and `proto.Quantization`.
      weights: type of the kernels in the file by operator, and of all operators that are not named, under OTHERS.
      arithmetic: STATIC, DYNAMIC, WEIGHT_ONLY or UNCHANGED.
      activation_bits: of the integers that activations become; None where they stay float.
      converter: whether TensorFlow's converter makes such files of a float file.
      converter_keeps_float: whether it can leave an operator float in them.
      alternatives: modes that may keep more of the answers, in the order of what they cost.
      with_int8_weights: the same mode but for weights of four bits; '' where there are none.
      without_effect: options of TFLiteQuantizer that change nothing in this mode.
    """

    name: str
    weights: Mapping[str, str]
    arithmetic: str
    activation_bits: int | None = None
    converter: bool = False
    converter_keeps_float: bool = False
    alternatives: tuple[str, ...] = ()
    with_int8_weights: str = ''
    without_effect: tuple[str, ...] = ()

    def kernel_type(self, operator: str) -> str:
        """The type that the file stores the kernels of an operator in, such as 'INT8'."""
        return self.weights.get(operator, self.weights[OTHERS])

    def operand_types(self, operator: str) -> tuple[str, str]:
        """The types of kernel and activation that an operator reads; what is dequantized for it, it reads as float.

        Example:
          >>> MODES['DYNAMIC_INT4'].operand_types('CONV_2D')
          ('INT4', 'FLOAT32')
        """
        if self.arithmetic == STATIC:
            return self.kernel_type(operator), f'INT{self.activation_bits}'
        return self.kernel_type(operator) if self.arithmetic == DYNAMIC else 'FLOAT32', 'FLOAT32'

    def bits_of(self, operator: str) -> int:
        """Bits of the kernels of an operator."""
        return _BITS[self.kernel_type(operator)]

    @property
    def weight_bits(self) -> dict[str, int]:
        """Bits of the kernels by operator, those not named under OTHERS first."""
        return {operator: _BITS[dtype] for operator, dtype in self.weights.items()}

    @property
    def has_float16_weights(self) -> bool:
        """Whether numbers beyond float16 cannot be stored."""
        return 'FLOAT16' in self.weights.values()

    @property
    def has_float_weights(self) -> bool:
        """Whether no kernel is stored in integers."""
        return {*self.weights.values()} <= {'FLOAT16', 'FLOAT32'}

    @property
    def quantizes(self) -> bool:
        """Whether the file is another than the converted one."""
        return self.arithmetic != UNCHANGED


_ROWS = (
    Mode(
        INT8,
        weights=_INT8_WEIGHTS,
        arithmetic=STATIC,
        activation_bits=8,
        converter=True,
        converter_keeps_float=True,
        alternatives=('INT16X8', 'DYNAMIC_INT8', 'FLOAT16'),
    ),
    Mode(
        'INT16X8',
        weights=_INT8_WEIGHTS,
        arithmetic=STATIC,
        activation_bits=16,
        converter=True,
        alternatives=('DYNAMIC_INT8', 'FLOAT16'),
    ),
    Mode('DYNAMIC_INT8', weights=_INT8_WEIGHTS, arithmetic=DYNAMIC, alternatives=('FLOAT16',)),
    Mode(
        'DYNAMIC_INT4',
        weights=_INT4_WEIGHTS,
        arithmetic=DYNAMIC,
        alternatives=('DYNAMIC_INT8', 'FLOAT16'),
        with_int8_weights='DYNAMIC_INT8',
    ),
    Mode(
        'FLOAT16',
        weights={OTHERS: 'FLOAT16'},
        arithmetic=WEIGHT_ONLY,
        alternatives=('FLOAT32',),
        without_effect=('dense_scales', *_AGAINST_LOSS),
    ),
    Mode(
        'FLOAT32',
        weights={OTHERS: 'FLOAT32'},
        arithmetic=UNCHANGED,
        without_effect=('keep_float', 'dense_scales', *_AGAINST_LOSS),
    ),
    Mode(
        'INT4X8',
        weights=_INT4_WEIGHTS,
        arithmetic=STATIC,
        activation_bits=8,
        alternatives=(INT8, 'INT16X8', 'DYNAMIC_INT8'),
        with_int8_weights=INT8,
    ),
)
# By name, in the order in which errors list them.
MODES = {row.name: row for row in _ROWS}


def mode_of(name: str) -> Mode:
    """The row of a mode.

    Args:
      name: of the mode.

    Raises:
      EdgeError: there is no such mode.

    Example:
      >>> mode_of('INT16X8').activation_bits
      16
    """
    if name not in MODES:
        raise EdgeError(f'mode is {name!r}; expected one of {", ".join(MODES)}.')
    return MODES[name]


def activation_bits(mode: str) -> int:
    """Bits of the activations that become integers in a mode.

    Args:
      mode: name of a mode with integer activations.

    Raises:
      EdgeError: there is no such mode, or its activations are float.

    Example:
      >>> activation_bits('INT4X8')
      8
    """
    bits = mode_of(mode).activation_bits
    if bits is None:
        known = ' or '.join(row.name for row in _ROWS if row.activation_bits is not None)
        raise EdgeError(f'mode {mode} has float activations; expected {known}.')
    return bits


def kernel_bits(mode: str, operator: str) -> int:
    """Bits of the kernels in a mode.

    Args:
      mode: name of a mode.
      operator: name of the operator that the kernel is of, such as 'CONV_2D'.

    Raises:
      EdgeError: there is no such mode.

    Example:
      >>> kernel_bits('INT4X8', 'DEPTHWISE_CONV_2D')
      8
    """
    return mode_of(mode).bits_of(operator)


def static_mode(weight_bits: Iterable[int], activation_bits: int) -> str:
    """The mode that a model was trained for.

    Args:
      weight_bits: of its quantized weights; four where LiteRT has kernels for them needs but one.
      activation_bits: of its activations.

    Returns:
      The name of the mode.

    Raises:
      EdgeError: LiteRT has no kernels for the two together.

    Example:
      >>> static_mode([8, 4], 8)
      'INT4X8'
    """
    narrowest = min(weight_bits, default=8)
    for row in _ROWS:
        if (min(row.weight_bits.values()), row.activation_bits) == (narrowest, activation_bits):
            return row.name
    known = ', '.join(
        f'{min(row.weight_bits.values())} and {row.activation_bits}' for row in _ROWS if row.activation_bits
    )
    raise EdgeError(
        f'there is no mode for weights of {narrowest} bits beside activations of {activation_bits}; expected '
        f'{known}. Train for one of these.'
    )
