"""Which inputs of a `.tflite` file become integers before anything else reads them."""

from __future__ import annotations

from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.model_file import ModelFile


@damaged_file.damage_as_edge_error()
def rounded_inputs(model: bytes | ModelFile) -> tuple[str, ...]:
    """The inputs of real numbers that a file holds as integers, which cannot be NaN or infinite.

    An input that something reads as it is (a test for NaN, say) is none of them: the file may handle that.

    Args:
      model: a `.tflite` file.

    Returns:
      Their names in the signature.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> rounded_inputs(pathlib.Path('digits_int8.tflite').read_bytes())
      ('image',)
    """
    content = ModelFile.of(model).content
    ends = file_ends(content)
    graph = content.subgraphs[ends.subgraph]
    found = []
    for name, index in ends.inputs.items():
        tensor = graph.tensors[index]
        is_scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        readers = [operator for operator in graph.operators if index in [int(i) for i in operator.inputs]]
        only_rounded = readers and all(
            flatbuffer.operator_name(content, operator) == 'QUANTIZE' for operator in readers
        )
        is_float = flatbuffer.TENSOR_TYPES[tensor.type] == 'FLOAT32'
        if (is_float and only_rounded) or (not is_float and is_scaled):
            found.append(name)
    return tuple(found)
