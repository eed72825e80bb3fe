"""The inputs and outputs of a `.tflite` file by name: its signature's, or its tensors' where it has no signature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ai_edge_litert import schema_py_generated as schema

# What TensorFlow's converter puts before the names of a SavedModel's inputs.
_PREFIX = 'serving_default_'


@dataclasses.dataclass(frozen=True)
class FileEnds:
    """Inputs and outputs.

    Attributes:
      signature_name: '' if the file has none.
      subgraph: index of the subgraph that they belong to.
      inputs: index of the tensor by input name.
      outputs: likewise.
    """

    signature_name: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def file_ends(content: schema.ModelT) -> FileEnds:
    """Finds a file's inputs and outputs: those of its first signature, or of its main graph by the tensors' names.

    Args:
      content: the parsed file.

    Example:
      >>> file_ends(flatbuffer.read(pathlib.Path('mobilenet_v1.tflite').read_bytes())).inputs
      {'input': 88}
    """
    if content.signatureDefs:
        signature = content.signatureDefs[0]
        return FileEnds(
            signature.signatureKey.decode(),
            int(signature.subgraphIndex),
            {entry.name.decode(): int(entry.tensorIndex) for entry in signature.inputs},
            {entry.name.decode(): int(entry.tensorIndex) for entry in signature.outputs},
        )
    graph = content.subgraphs[0]
    names = [(tensor.name or b'').decode() for tensor in graph.tensors]
    inputs, outputs = [[int(index) for index in ends] for ends in (graph.inputs, graph.outputs)]
    return FileEnds(
        '',
        0,
        dict(zip(input_names([names[index] for index in inputs]), inputs, strict=True)),
        dict(zip(output_names([names[index] for index in outputs]), outputs, strict=True)),
    )


def input_names(tensors: Sequence[str]) -> list[str]:
    """Names of a file's inputs: those of their tensors without 'serving_default_' and what follows a colon, as in TFMA.

    Where one of these is empty or two are equal: the tensors' whole names; where these are not usable either,
    'input_0' and so on.

    Example:
      >>> input_names(['serving_default_image:0'])
      ['image']
    """
    stripped = [name.removeprefix(_PREFIX).split(':')[0] for name in tensors]
    return stripped if _are_distinct(stripped) else _distinct('input', tensors)


def output_names(tensors: Sequence[str]) -> list[str]:
    """Names of a file's outputs: those of their tensors, as in TFMA; 'output_0' and so on if one is empty or double."""
    return _distinct('output', tensors)


def _distinct(what: str, names: Sequence[str]) -> list[str]:
    return list(names) if _are_distinct(names) else [f'{what}_{index}' for index in range(len(names))]


def _are_distinct(names: Sequence[str]) -> bool:
    return all(names) and len(set(names)) == len(names)
