"""Which `.tflite` file to make."""

from __future__ import annotations

import dataclasses

INT8, DYNAMIC_INT8, FLOAT16, FLOAT32 = MODES = ('INT8', 'DYNAMIC_INT8', 'FLOAT16', 'FLOAT32')
IO_TYPES = ('FLOAT', 'INT8', 'UINT8')


@dataclasses.dataclass(frozen=True)
class QuantizationOptions:
    """Which file to make.

    Attributes:
      mode: INT8 (weights and activations), DYNAMIC_INT8 (weights; activations while running), FLOAT16
        (weights stored so), FLOAT32 (as converted).
      io: type of the file's inputs and outputs; INT8 and UINT8 need mode INT8.
      keep_float: regular expressions; operators with an output tensor in whose name one is found stay float.
    """

    mode: str = INT8
    io: str = 'FLOAT'
    keep_float: tuple[str, ...] = ()

    @property
    def needs_ranges(self) -> bool:
        """Whether activations become integers."""
        return self.mode == INT8
