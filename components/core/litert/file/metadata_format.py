"""TFLite metadata as bytes: what is kept of metadata_schema.fbs (1.5.0), whose generated module reads and writes it."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import flatbuffers

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import metadata_schema_generated as schema

# Most bytes that are read of one file: many tables may share a string, and each reads it anew.
MAX_BYTES = 2**24

_FILE_IDENTIFIER = b'M001'
# The oldest version of the schema that has every field below.
_MIN_PARSER_VERSION = '1.0.0'
_OFFSET_BYTES = 4


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """An input or output: its name, what it is, and the name of the file with a label for each of its last axis."""

    name: str
    description: str = ''
    labels_file: str = ''


@dataclasses.dataclass(frozen=True)
class MetadataEntry:
    """The metadata of a model; inputs and outputs in the order of its main subgraph, or none."""

    name: str
    version: str
    author: str
    license: str
    description: str
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]


def pack(entry: MetadataEntry) -> bytes:
    """Writes the flatbuffer; the same entry gives the same bytes. Empty texts are left out.

    Raises:
      EdgeError: a text is no Unicode, or the whole is larger than MAX_BYTES.
    """
    builder = flatbuffers.Builder(1024)
    try:
        model = _pack_model(builder, entry)
    except UnicodeEncodeError as error:
        raise EdgeError(f'the metadata holds text that is no Unicode ({error}); write it again.') from error
    builder.Finish(model, file_identifier=_FILE_IDENTIFIER)
    data = bytes(builder.Output())
    if len(data) > MAX_BYTES:
        raise EdgeError(
            f'the metadata take {len(data)} bytes; expected at most {MAX_BYTES}: shorten the texts.'
        )
    return data


def unpack(data: bytes) -> MetadataEntry:
    """Reads the flatbuffer.

    Raises:
      EdgeError: it is damaged, or larger than MAX_BYTES.
    """
    reader = _Reader(data)
    try:
        return reader.model()
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise EdgeError(
            f'the metadata of the .tflite file are damaged ({error}); write them again with metadata.add.'
        ) from error


def _pack_model(builder: flatbuffers.Builder, entry: MetadataEntry) -> int:
    start = schema.SubGraphMetadataStartInputTensorMetadataVector
    inputs = _vector(builder, start, [_pack_tensor(builder, tensor) for tensor in entry.inputs])
    start = schema.SubGraphMetadataStartOutputTensorMetadataVector
    outputs = _vector(builder, start, [_pack_tensor(builder, tensor) for tensor in entry.outputs])
    schema.SubGraphMetadataStart(builder)
    schema.SubGraphMetadataAddInputTensorMetadata(builder, inputs)
    schema.SubGraphMetadataAddOutputTensorMetadata(builder, outputs)
    subgraph = schema.SubGraphMetadataEnd(builder)
    texts = {
        schema.ModelMetadataAddName: entry.name,
        schema.ModelMetadataAddDescription: entry.description,
        schema.ModelMetadataAddVersion: entry.version,
        schema.ModelMetadataAddAuthor: entry.author,
        schema.ModelMetadataAddLicense: entry.license,
        schema.ModelMetadataAddMinParserVersion: _MIN_PARSER_VERSION,
    }
    offsets = {add: _text(builder, text) for add, text in texts.items()}
    subgraphs = _vector(builder, schema.ModelMetadataStartSubgraphMetadataVector, [subgraph])
    schema.ModelMetadataStart(builder)
    for add, offset in offsets.items():
        add(builder, offset)
    schema.ModelMetadataAddSubgraphMetadata(builder, subgraphs)
    return schema.ModelMetadataEnd(builder)


def _pack_tensor(builder: flatbuffers.Builder, tensor: TensorEntry) -> int:
    schema.FeaturePropertiesStart(builder)
    properties = schema.FeaturePropertiesEnd(builder)
    schema.ContentStart(builder)
    schema.ContentAddContentProperties(builder, properties)
    schema.ContentAddContentPropertiesType(builder, schema.ContentProperties.FeatureProperties)
    content = schema.ContentEnd(builder)
    name, description = _text(builder, tensor.name), _text(builder, tensor.description)
    files = _pack_labels_file(builder, tensor.labels_file) if tensor.labels_file else 0
    schema.TensorMetadataStart(builder)
    schema.TensorMetadataAddName(builder, name)
    schema.TensorMetadataAddDescription(builder, description)
    schema.TensorMetadataAddContent(builder, content)
    schema.TensorMetadataAddAssociatedFiles(builder, files)
    return schema.TensorMetadataEnd(builder)


def _pack_labels_file(builder: flatbuffers.Builder, labels_file: str) -> int:
    """A list of one file."""
    name = _text(builder, labels_file)
    schema.AssociatedFileStart(builder)
    schema.AssociatedFileAddName(builder, name)
    schema.AssociatedFileAddType(builder, schema.AssociatedFileType.TENSOR_AXIS_LABELS)
    file = schema.AssociatedFileEnd(builder)
    return _vector(builder, schema.TensorMetadataStartAssociatedFilesVector, [file])


def _vector(
    builder: flatbuffers.Builder, start: Callable[[flatbuffers.Builder, int], int], offsets: Sequence[int]
) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _text(builder: flatbuffers.Builder, text: str) -> int:
    """The offset of a text; 0, which leaves the field out, of an empty one."""
    return builder.CreateString(text) if text else 0


class _Bounded(bytes):
    """Bytes that refuse a slice beyond their end, where Python's own are shorter."""

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice) and key.stop > len(self):
            raise ValueError(f'an offset leads to byte {key.stop} of {len(self)}')
        return super().__getitem__(key)


class _Reader:
    """Reads bytes that nobody has verified: whatever they hold, it ends soon, with a result or an error.

    The generated module follows offsets, and fails where they lead out of the bytes. Here is counted what is read, for
    many tables may share a list or a text.
    """

    def __init__(self, data: bytes) -> None:
        self._data = _Bounded(data)
        self._left = MAX_BYTES

    def model(self) -> MetadataEntry:
        if len(self._data) > MAX_BYTES:
            raise ValueError(f'{len(self._data)} bytes, expected at most {MAX_BYTES}')
        if self._data[4:8] != _FILE_IDENTIFIER:
            raise ValueError(f'file identifier {self._data[4:8]!r}, expected {_FILE_IDENTIFIER!r}')
        model = schema.ModelMetadata.GetRootAs(self._data)
        inputs: list[Any] = []
        outputs: list[Any] = []
        # The first is the main one.
        for graph in self._tables(model.SubgraphMetadataLength(), model.SubgraphMetadata)[:1]:
            inputs = self._tables(graph.InputTensorMetadataLength(), graph.InputTensorMetadata)
            outputs = self._tables(graph.OutputTensorMetadataLength(), graph.OutputTensorMetadata)
        return MetadataEntry(
            name=self._text(model.Name()),
            version=self._text(model.Version()),
            author=self._text(model.Author()),
            license=self._text(model.License()),
            description=self._text(model.Description()),
            inputs=tuple(map(self._tensor, inputs)),
            outputs=tuple(map(self._tensor, outputs)),
        )

    def _tensor(self, table: Any) -> TensorEntry:
        labels = ''
        for file in self._tables(table.AssociatedFilesLength(), table.AssociatedFiles):
            # The schema: of several files of a kind, the first is the default.
            if file.Type() == schema.AssociatedFileType.TENSOR_AXIS_LABELS and not labels:
                labels = self._text(file.Name())
        return TensorEntry(self._text(table.Name()), self._text(table.Description()), labels)

    def _tables(self, length: int, at: Callable[[int], Any]) -> list[Any]:
        self._count(_OFFSET_BYTES * length)
        return [at(index) for index in range(length)]

    def _text(self, value: bytes | None) -> str:
        self._count(len(value or b''))
        return (value or b'').decode()

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError(f'more than {MAX_BYTES} bytes to read')
