"""What an engine's file still needs before it is ours."""

from __future__ import annotations

from tfx_edge.components.core.litert import contract, flatbuffer, io_types, shape_operands
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions


def finish(quantized: bytes, float_model: bytes, options: QuantizationOptions) -> bytes:
    """Mends what the engines leave, gives the file its inputs and outputs, packs it, and checks it.

    Args:
      quantized: bytes of an engine's file.
      float_model: bytes of the float file that it was made of.
      options: what was asked for.

    Returns:
      The file's bytes.

    Raises:
      EdgeError: see `contract.check_file`.
    """
    content = flatbuffer.read(quantized)
    shape_operands.read_quantized(content)
    if options.io == 'UINT8':
        io_types.make_uint8(content)
    file = flatbuffer.write(content)
    contract.check_file(file, float_model, options)
    return file
