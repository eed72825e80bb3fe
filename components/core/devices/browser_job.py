"""A file and its examples, as a page with LiteRT.js takes them: without open dimensions, inputs by its names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.model_file import ModelFile


@dataclasses.dataclass(frozen=True)
class Job:
    """A file and its examples.

    Attributes:
      data: bytes of a `.tflite` file without open dimensions.
      inputs: by LiteRT.js's names, arrays of shape (examples, *shape of the tensor).
    """

    data: bytes
    inputs: Mapping[str, np.ndarray]


def example_job(file: ModelFile) -> Job:
    """The file with one example, which is the same for every file with such inputs.

    Args:
      file: a `.tflite` file.

    Raises:
      EdgeError: the file contradicts itself.
    """
    ends, names = file_ends(file.content), _names_of_inputs(file)
    tensors = file.content.subgraphs[ends.subgraph].tensors
    random = np.random.default_rng(0)
    return Job(
        _closed(file),
        {names[name]: _values(tensors[index], random)[np.newaxis] for name, index in ends.inputs.items()},
    )


def rows_job(file: ModelFile, inputs: Mapping[str, np.ndarray]) -> Job:
    """The file with examples of the caller.

    Args:
      file: a `.tflite` file whose tensors have the first dimension 1 or open.
      inputs: by input name, arrays of shape (examples, ...).

    Raises:
      EdgeError: the file contradicts itself.
    """
    names = _names_of_inputs(file)
    rows = {names.get(name, name): np.asarray(values)[:, np.newaxis] for name, values in inputs.items()}
    return Job(_closed(file), rows)


def _names_of_inputs(file: ModelFile) -> dict[str, str]:
    """LiteRT.js's names of the inputs; of a file without a signature, the whole names of their tensors."""
    ends = file_ends(file.content)
    if file.content.signatureDefs:
        return {name: name for name in ends.inputs}
    tensors = file.content.subgraphs[ends.subgraph].tensors
    return {name: flatbuffer.tensor_name(tensors[index]) for name, index in ends.inputs.items()}


def _values(tensor: flatbuffer.schema.TensorT, random: np.random.Generator) -> np.ndarray:
    """Real numbers from 0 to 1; of an integer tensor with a scale 0 to 127, of another 0 or 1, as of words' numbers."""
    shape = [size or 1 for size in flatbuffer.shape(tensor)]
    name = flatbuffer.TENSOR_TYPES[tensor.type].lower()
    if name not in ('int8', 'uint8', 'int32'):
        # LiteRT.js refuses a file with inputs of other types, before it looks at their values.
        return random.random(shape, np.float32)
    has_scale = tensor.quantization is not None and tensor.quantization.scale is not None
    return random.integers(0, 128 if has_scale and name != 'int32' else 2, shape).astype(name)


def _closed(file: ModelFile) -> bytes:
    """The bytes of the file with 1 for each open dimension; its own where it has none."""
    if not any(
        None in flatbuffer.shape(tensor) for graph in file.content.subgraphs for tensor in graph.tensors
    ):
        return file.data
    content = file.changeable()
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            # `shape` has the sizes with 1 in their place.
            tensor.shapeSignature = None
    return flatbuffer.write(content)
