"""Which `.tflite` file to make."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.errors import EdgeError

INT8, INT16X8, DYNAMIC_INT8, DYNAMIC_INT4, FLOAT16, FLOAT32, INT4X8 = MODES = (
    'INT8',
    'INT16X8',
    'DYNAMIC_INT8',
    'DYNAMIC_INT4',
    'FLOAT16',
    'FLOAT32',
    'INT4X8',
)
INT8_ACTIVATIONS = (INT8, INT4X8)
INTEGER_ACTIVATIONS = (*INT8_ACTIVATIONS, INT16X8)
IO_TYPES = ('FLOAT', 'INT8', 'UINT8')
AUTO, LITERT, CONVERTER = ENGINES = ('AUTO', 'LITERT', 'CONVERTER')
# The other modes are what TensorFlow's converter makes of a SavedModel, not of a float file.
CONVERTER_MODES = (INT8, INT16X8)
# Where LiteRT has kernels for weights of four bits; other weights take eight.
INT4_KERNELS = ('CONV_2D', 'FULLY_CONNECTED')


@dataclasses.dataclass(frozen=True)
class QuantizationOptions:
    """Which file to make.

    Attributes:
      mode: INT8 (weights and activations), INT16X8 (int16 activations, int8 weights), DYNAMIC_INT8 and DYNAMIC_INT4
        (weights; activations while running), FLOAT16 (weights stored so), FLOAT32 (as converted), INT4X8 (int4
        weights where LiteRT has kernels, int8 elsewhere, int8 activations).
      io: type of the file's inputs and outputs; INT8 and UINT8 need int8 activations.
      keep_float: regular expressions; operators with an output tensor in whose name one is found stay float.
      engine: LITERT (litert-quantizer), CONVERTER (the quantizer of TensorFlow's converter), or AUTO: the one
        whose file leaves fewer operators in float.
    """

    mode: str = INT8
    io: str = 'FLOAT'
    keep_float: tuple[str, ...] = ()
    engine: str = AUTO

    @property
    def needs_ranges(self) -> bool:
        """Whether activations become integers."""
        return self.mode in INTEGER_ACTIVATIONS

    @property
    def converter_can(self) -> bool:
        """Whether the CONVERTER engine can make this file."""
        # Its 16-bit path knows no way to leave an operator out.
        return self.mode in CONVERTER_MODES and not (self.mode == INT16X8 and self.keep_float)


def activation_bits(mode: str) -> int:
    """Bits of the activations that become integers in a mode."""
    return 16 if mode == INT16X8 else 8


def kernel_bits(mode: str, operator: str) -> int:
    """Bits of the kernels that become integers in a mode.

    Args:
      mode: one with integer kernels.
      operator: name of the operator that the kernel is of, such as 'CONV_2D'.

    Example:
      >>> kernel_bits('INT4X8', 'DEPTHWISE_CONV_2D')
      8
    """
    return 4 if mode in (INT4X8, DYNAMIC_INT4) and operator in INT4_KERNELS else 8


def require_possible(options: QuantizationOptions) -> None:
    """Refuses what no file can be.

    Raises:
      EdgeError: a value is unknown, or two cannot go together.
    """
    for name, value, known in (
        ('mode', options.mode, MODES),
        ('io', options.io, IO_TYPES),
        ('engine', options.engine, ENGINES),
    ):
        if value not in known:
            raise EdgeError(f'{name} is {value!r}; expected one of {", ".join(known)}.')
    if options.io != 'FLOAT' and options.mode not in INT8_ACTIVATIONS:
        raise EdgeError(
            f'io is {options.io}, but mode {options.mode} has no int8 activations; '
            f'set io to FLOAT, or mode to {" or ".join(INT8_ACTIVATIONS)}.'
        )
    if options.engine == CONVERTER and not options.converter_can:
        beside = ' with keep_float' if options.mode in CONVERTER_MODES else ''
        raise EdgeError(
            f"engine CONVERTER cannot make a file of mode {options.mode}{beside}: TensorFlow's quantizer makes "
            f'{" and ".join(CONVERTER_MODES)} files of a float file; set engine to AUTO or LITERT.'
        )
