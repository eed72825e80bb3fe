"""What an engine's file still needs: shapes read of integers, uint8 inputs and outputs, and to be checked."""

from __future__ import annotations

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import file_checks, uint8_ends
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions


def finish(
    content: flatbuffer.schema.ModelT, float_file: ModelFile, options: QuantizationOptions
) -> ModelFile:
    """Lets SHAPE read quantized tensors, makes inputs and outputs uint8 where asked for, packs the file, and checks it.

    Args:
      content: of an engine's file; changed in place.
      float_file: the float file that it was made of.
      options: what was asked for.

    Returns:
      The file.

    Raises:
      EdgeError: see `file_checks.check_file`.
    """
    _let_shapes_read_integers(content)
    if options.io == 'UINT8':
        uint8_ends.make_uint8(content)
    file = ModelFile.of_content(content)
    file_checks.check_file(file, float_file, options)
    return file


def _let_shapes_read_integers(content: flatbuffer.schema.ModelT) -> None:
    """Lets each SHAPE operator read the quantized tensor itself, and drops what only dequantized for it.

    Every Flatten or Reshape with an open batch dimension has such an operator; the engine leaves it on the float
    side, where integer-only devices cannot run it. SHAPE reads integers as well as floats.
    """
    for graph in content.subgraphs:
        sources = {
            operator.outputs[0]: operator.inputs[0]
            for operator in graph.operators
            if flatbuffer.operator_name(content, operator) == 'DEQUANTIZE'
        }
        for operator in graph.operators:
            if flatbuffer.operator_name(content, operator) == 'SHAPE':
                operator.inputs = [sources.get(index, index) for index in operator.inputs]
        read = {*graph.outputs, *(index for operator in graph.operators for index in operator.inputs)}
        # The tensors stay, unused, so that indices keep their meaning.
        graph.operators = [
            operator
            for operator in graph.operators
            if not len(operator.outputs) or operator.outputs[0] not in sources or operator.outputs[0] in read
        ]
