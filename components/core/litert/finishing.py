"""What an engine's file still needs before it is ours."""

from __future__ import annotations

from tfx_edge.components.core.litert import contract, flatbuffer, io_types, shape_operands
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions


def finish(
    content: flatbuffer.schema.ModelT, float_file: ModelFile, options: QuantizationOptions
) -> ModelFile:
    """Mends what the engines leave, gives the file its inputs and outputs, packs it, and checks it.

    Args:
      content: what an engine's file says; changed in place.
      float_file: that it was made of.
      options: what was asked for.

    Returns:
      The file.

    Raises:
      EdgeError: see `contract.check_file`.
    """
    shape_operands.read_quantized(content)
    if options.io == 'UINT8':
        io_types.make_uint8(content)
    file = ModelFile.of_content(content)
    contract.check_file(file, float_file, options)
    return file
