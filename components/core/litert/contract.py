"""What was promised of a `.tflite` file, checked on the file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.inspect import ModelSummary
from tfx_edge.components.core.litert.quantization_options import INT8, QuantizationOptions

_LOG = logging.getLogger(__name__)

_IO_DTYPES = {'FLOAT': 'float32', 'INT8': 'int8', 'UINT8': 'uint8'}


def check(
    summary: ModelSummary,
    options: QuantizationOptions,
    *,
    inputs: Iterable[str],
    outputs: Iterable[str],
    float_summary: ModelSummary,
    require_full_integer: bool = False,
) -> None:
    """Checks names and types of inputs and outputs, and that an INT8 file computes in integers.

    Args:
      summary: of the file.
      options: what was asked for.
      inputs: input names of the SavedModel's signature.
      outputs: its output names.
      float_summary: of the float file that was quantized.
      require_full_integer: operators that stay float are an error, not a warning.

    Raises:
      EdgeError: the file is not what was promised.
    """
    _require_names('inputs', set(summary.inputs), set(inputs))
    _require_names('outputs', set(summary.outputs), set(outputs))
    _require_types(summary.inputs, float_summary.inputs, options.io)
    _require_types(summary.outputs, float_summary.outputs, options.io)
    if options.mode != INT8 or not summary.float_ops:
        return
    stayed = ', '.join(f'{op.name} {op.output.split(";")[0]!r}' for op in summary.float_ops)
    if require_full_integer:
        raise EdgeError(
            f'{len(summary.float_ops)} operators stay float: {stayed}; require_full_integer allows none. '
            'Replace these layers, or leave require_full_integer unset.'
        )
    _LOG.warning('%d operators stay float: %s', len(summary.float_ops), stayed)


def _require_names(what: str, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise EdgeError(
            f'the .tflite file has the {what} {sorted(found)}, but the signature {sorted(expected)}; '
            'give every input and output of the signature a use, and another name than the others.'
        )


def _require_types(found: Mapping[str, str], converted: Mapping[str, str], io: str) -> None:
    for name, dtype in found.items():
        expected = _IO_DTYPES[io] if converted[name] == 'float32' else converted[name]
        if dtype != expected:
            raise EdgeError(
                f'{name!r} of the .tflite file is {dtype}, expected {expected}; the operator there cannot be '
                f'quantized: set io to FLOAT.'
            )
