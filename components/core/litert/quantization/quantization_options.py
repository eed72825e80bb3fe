"""Which `.tflite` file to make."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.dense_scales import DENSE_SCALES, PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.quantization.modes import INT8, MODES, Mode, mode_of

IO_TYPES = ('FLOAT', 'INT8', 'UINT8')
AUTO, LITERT, CONVERTER = ENGINES = ('AUTO', 'LITERT', 'CONVERTER')


@dataclasses.dataclass(frozen=True)
class QuantizationOptions:
    """Which file to make.

    Attributes:
      mode: name of a row of `modes.MODES`, such as INT8.
      io: type of the file's inputs and outputs; INT8 and UINT8 need int8 activations.
      keep_float: regular expressions; operators with an output tensor in whose name one is found stay float.
      engine: LITERT (litert-quantizer), CONVERTER (the quantizer of TensorFlow's converter), or AUTO: the one
        whose file comes nearer to the float model, by 3 dB or more, or else leaves fewer operators in float.
      dense_scales: PER_CHANNEL or PER_TENSOR, the scales of the kernels of fully connected layers.
    """

    mode: str = INT8
    io: str = 'FLOAT'
    keep_float: tuple[str, ...] = ()
    engine: str = AUTO
    dense_scales: str = PER_CHANNEL

    @property
    def row(self) -> Mode:
        """All that is particular to the mode; EdgeError where there is no such mode."""
        return mode_of(self.mode)

    @property
    def needs_ranges(self) -> bool:
        """Whether activations become integers."""
        return self.row.activation_bits is not None

    @property
    def converter_can(self) -> bool:
        """Whether the CONVERTER engine can make this file."""
        return self.row.converter and (self.row.converter_keeps_float or not self.keep_float)


def require_possible(options: QuantizationOptions) -> None:
    """Refuses options with which no file can be made.

    Raises:
      EdgeError: a value is unknown, or two cannot go together.
    """
    row = options.row
    for name, value, known in (
        ('io', options.io, IO_TYPES),
        ('engine', options.engine, ENGINES),
        ('dense_scales', options.dense_scales, DENSE_SCALES),
    ):
        if value not in known:
            raise EdgeError(f'{name} is {value!r}; expected one of {", ".join(known)}.')
    if options.io != 'FLOAT' and row.activation_bits != 8:
        possible = ' or '.join(name for name, other in MODES.items() if other.activation_bits == 8)
        raise EdgeError(
            f'io is {options.io}, but mode {options.mode} has no int8 activations; '
            f'set io to FLOAT, or mode to {possible}.'
        )
    if options.engine == CONVERTER and not options.converter_can:
        beside = ' with keep_float' if row.converter else ''
        possible = ' and '.join(name for name, other in MODES.items() if other.converter)
        raise EdgeError(
            f"engine CONVERTER cannot make a file of mode {options.mode}{beside}: TensorFlow's quantizer makes "
            f'{possible} files of a float file; set engine to AUTO or LITERT.'
        )
