"""TFLite metadata of a `.tflite` file: its author, descriptions of inputs and outputs, and the labels of its classes.

Apps and MediaPipe read them: a flatbuffer (metadata_schema.fbs) in the model's buffer TFLITE_METADATA, and label
files in a ZIP behind the model, which stays loadable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import damaged_file, flatbuffer, label_file, metadata_format
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.metadata_format import MetadataEntry, TensorEntry
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.model_metadata import ModelMetadata

_ENTRY = b'TFLITE_METADATA'


@damaged_file.damage_as_edge_error()
def add(model: bytes | ModelFile, metadata: ModelMetadata) -> bytes:
    """Writes metadata into a file, and replaces those that it has.

    To be done last: whatever changes the file afterwards drops the labels, which lie behind the model.
    The same arguments give the same bytes.

    Args:
      model: a `.tflite` file with one signature.
      metadata: what to write; inputs and outputs that it leaves out are written with their names alone.

    Returns:
      The file's bytes; it computes the same, and all its other metadata entries stay.

    Raises:
      EdgeError: a name is no input or output of the signature, or the labels do not fit the output.

    Example:
      >>> named = add(model, ModelMetadata(name='digits', labels=tuple('0123456789')))
      >>> read(named).labels_output
      'output_0'
    """
    content = ModelFile.of(model).changeable()
    if len(content.signatureDefs or []) != 1:
        raise EdgeError(
            f'the .tflite file holds {len(content.signatureDefs or [])} signatures; metadata describe one. '
            'Convert a SavedModel with TFLiteQuantizer.'
        )
    inputs, outputs = _names(content)
    _require_known('input', metadata.inputs, inputs)
    _require_known('output', metadata.outputs, outputs)
    labelled = _labelled_output(content, metadata, outputs)
    entry = MetadataEntry(
        name=metadata.name,
        version=metadata.version,
        author=metadata.author,
        license=metadata.license,
        description=metadata.description,
        inputs=tuple(TensorEntry(name, metadata.inputs.get(name, '')) for name in inputs),
        outputs=tuple(
            TensorEntry(name, metadata.outputs.get(name, ''), label_file.NAME if name == labelled else '')
            for name in outputs
        ),
    )
    _drop_entry(content)
    _append_entry(content, metadata_format.pack(entry))
    packed = flatbuffer.write(content)
    return packed if metadata.labels is None else packed + label_file.pack(len(packed), metadata.labels)


@damaged_file.damage_as_edge_error()
def read(model: bytes | ModelFile) -> ModelMetadata | None:
    """The metadata of a file, whoever wrote them.

    Args:
      model: a `.tflite` file.

    Returns:
      The metadata, with every input and output by name and the first labels of an output; None if the file has none.

    Raises:
      EdgeError: the file, its metadata or its labels are damaged.

    Example:
      >>> read(model)
      ModelMetadata(name='digits', version='3', ...)
    """
    file = ModelFile.of(model)
    content = file.content
    entries = [entry for entry in content.metadata or [] if entry.name == _ENTRY]
    if not entries:
        return None
    data = content.buffers[entries[0].buffer].data
    entry = metadata_format.unpack(bytes(data) if data is not None else b'')
    inputs, outputs = _names(content)
    described = _descriptions('outputs', outputs, entry.outputs)
    labelled = next((i for i, tensor in enumerate(entry.outputs) if tensor.labels_file), None)
    return ModelMetadata(
        name=entry.name,
        version=entry.version,
        author=entry.author,
        license=entry.license,
        description=entry.description,
        inputs=_descriptions('inputs', inputs, entry.inputs),
        outputs=described,
        labels=None
        if labelled is None
        else label_file.unpack(file.data, entry.outputs[labelled].labels_file),
        labels_output='' if labelled is None else outputs[labelled],
    )


def _names(content: flatbuffer.schema.ModelT) -> tuple[list[str], list[str]]:
    """The names of inputs and outputs in the subgraph's order: the signature's, or else the tensors'."""
    if not content.signatureDefs:
        ends = file_ends(content)
        return list(ends.inputs), list(ends.outputs)
    signature = content.signatureDefs[0]
    graph = content.subgraphs[signature.subgraphIndex]
    return (
        _names_of(graph, graph.inputs, signature.inputs),
        _names_of(graph, graph.outputs, signature.outputs),
    )


def _names_of(
    graph: flatbuffer.schema.SubGraphT,
    indices: Iterable[int],
    entries: Sequence[flatbuffer.schema.TensorMapT],
) -> list[str]:
    # Two outputs of a signature may be one tensor, which then stands among the subgraph's outputs twice.
    waiting: dict[int, list[str]] = {}
    for entry in entries:
        waiting.setdefault(entry.tensorIndex, []).append(entry.name.decode())
    return [
        waiting[index].pop(0) if waiting.get(index) else flatbuffer.tensor_name(graph.tensors[index])
        for index in indices
    ]


def _require_known(what: str, described: Iterable[str], names: Sequence[str]) -> None:
    for name in described:
        if name not in names:
            raise EdgeError(
                f'the metadata describe the {what} {name!r}, which the .tflite file does not have; '
                f'name one of: {", ".join(names)}.'
            )


def _labelled_output(
    content: flatbuffer.schema.ModelT, metadata: ModelMetadata, outputs: Sequence[str]
) -> str | None:
    """The name of the output that the labels belong to, after checking that they fit."""
    labels, name = metadata.labels, metadata.labels_output
    if labels is None:
        if name:
            raise EdgeError(
                f'labels_output is {name!r}, but there are no labels; give labels, or no labels_output.'
            )
        return None
    if not name and len(outputs) != 1:
        raise EdgeError(
            f'the file has {len(outputs)} outputs; set labels_output to one of: {", ".join(outputs)}.'
        )
    name = name or outputs[0]
    _require_known('output', [name], outputs)
    for index, label in enumerate(labels):
        if not label.strip() or label.splitlines() != [label]:
            raise EdgeError(f'label {index} is {label!r}; expected one line of text: change it.')
    graph = content.subgraphs[content.signatureDefs[0].subgraphIndex]
    shape = flatbuffer.shape(graph.tensors[graph.outputs[outputs.index(name)]])
    if not labels or not shape or shape[-1] not in (None, len(labels)):
        raise EdgeError(
            f'there are {len(labels)} labels for the output {name!r} of shape {shape}; '
            f'expected one for each index of its last dimension.'
        )
    return name


def _drop_entry(content: flatbuffer.schema.ModelT) -> None:
    """Removes the entry, and its buffer where nothing else uses it."""
    dropped = [entry.buffer for entry in content.metadata or [] if entry.name == _ENTRY]
    content.metadata = [entry for entry in content.metadata or [] if entry.name != _ENTRY]
    used = {tensor.buffer for graph in content.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in content.metadata} | {0}
    for index in set(dropped) - used:
        content.buffers[index].data = None
    while len(content.buffers) - 1 in set(dropped) - used:
        content.buffers.pop()


def _append_entry(content: flatbuffer.schema.ModelT, data: bytes) -> None:
    buffer = flatbuffer.schema.BufferT()
    buffer.data = data
    content.buffers.append(buffer)
    entry = flatbuffer.schema.MetadataT()
    entry.name, entry.buffer = _ENTRY, len(content.buffers) - 1
    content.metadata.append(entry)


def _descriptions(what: str, names: Sequence[str], tensors: Sequence[TensorEntry]) -> dict[str, str]:
    if tensors and len(tensors) != len(names):
        raise EdgeError(
            f'the metadata of the .tflite file describe {len(tensors)} {what}, but it has {len(names)}; '
            'write them again with metadata.add.'
        )
    texts = [tensor.description for tensor in tensors] or [''] * len(names)
    return dict(zip(names, texts, strict=True))
