"""TFLite metadata as bytes: the fields of metadata_schema.fbs (1.5.0, file identifier M001) that are kept here."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

from tfx_edge.components.core.errors import EdgeError

# What may be read of one file: strings that many tables share must not grow beyond all bounds.
MAX_BYTES = 2**24

_FILE_IDENTIFIER = b'M001'
# The oldest version of the schema that has every field below.
_MIN_PARSER_VERSION = '1.0.0'
_TENSOR_AXIS_LABELS = 2
_FEATURE_PROPERTIES = 1


class _ModelSlots:
    """Field numbers of ModelMetadata; of other tables below."""

    COUNT = 8
    NAME, DESCRIPTION, VERSION, SUBGRAPHS, AUTHOR, LICENSE = range(6)
    MIN_PARSER_VERSION = 7


class _SubgraphSlots:
    COUNT = 10
    INPUTS, OUTPUTS = 2, 3


class _TensorSlots:
    COUNT = 7
    NAME, DESCRIPTION = 0, 1
    CONTENT, FILES = 3, 6


class _ContentSlots:
    COUNT = 3
    PROPERTIES_TYPE, PROPERTIES = 0, 1


class _FileSlots:
    COUNT = 5
    NAME, TYPE = 0, 2


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """An input or output: its name, what it is, and the name of the file with a label for each of its last axis."""

    name: str
    description: str = ''
    labels_file: str = ''


@dataclasses.dataclass(frozen=True)
class MetadataEntry:
    """What is said of a model; inputs and outputs in the order of its main subgraph, or none."""

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
      EdgeError: a text is no Unicode, or the whole is larger than can be read again.
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
      EdgeError: it is damaged, or larger than any that describes a model.
    """
    reader = _Reader(data)
    try:
        return reader.model()
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise EdgeError(
            f'the metadata of the .tflite file are damaged ({error}); write them again with metadata.add.'
        ) from error


def _pack_model(builder: flatbuffers.Builder, entry: MetadataEntry) -> int:
    inputs = _tables(builder, [_pack_tensor(builder, tensor) for tensor in entry.inputs])
    outputs = _tables(builder, [_pack_tensor(builder, tensor) for tensor in entry.outputs])
    subgraph = _table(
        builder, _SubgraphSlots.COUNT, {_SubgraphSlots.INPUTS: inputs, _SubgraphSlots.OUTPUTS: outputs}
    )
    texts = {
        _ModelSlots.NAME: entry.name,
        _ModelSlots.DESCRIPTION: entry.description,
        _ModelSlots.VERSION: entry.version,
        _ModelSlots.AUTHOR: entry.author,
        _ModelSlots.LICENSE: entry.license,
        _ModelSlots.MIN_PARSER_VERSION: _MIN_PARSER_VERSION,
    }
    fields = {slot: _text(builder, text) for slot, text in texts.items()}
    return _table(builder, _ModelSlots.COUNT, fields | {_ModelSlots.SUBGRAPHS: _tables(builder, [subgraph])})


def _pack_tensor(builder: flatbuffers.Builder, tensor: TensorEntry) -> int:
    properties = _table(builder, 0, {})
    content = _table(
        builder,
        _ContentSlots.COUNT,
        {_ContentSlots.PROPERTIES: properties},
        {_ContentSlots.PROPERTIES_TYPE: _FEATURE_PROPERTIES},
    )
    fields = {
        _TensorSlots.NAME: _text(builder, tensor.name),
        _TensorSlots.DESCRIPTION: _text(builder, tensor.description),
        _TensorSlots.CONTENT: content,
    }
    if tensor.labels_file:
        name = {_FileSlots.NAME: _text(builder, tensor.labels_file)}
        file = _table(builder, _FileSlots.COUNT, name, {_FileSlots.TYPE: _TENSOR_AXIS_LABELS})
        fields[_TensorSlots.FILES] = _tables(builder, [file])
    return _table(builder, _TensorSlots.COUNT, fields)


def _table(
    builder: flatbuffers.Builder, count: int, offsets: dict[int, int], numbers: dict[int, int] | None = None
) -> int:
    """A table of so many slots; offset 0 stands for a field that is left out."""
    builder.StartObject(count)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, number in (numbers or {}).items():
        builder.PrependUint8Slot(slot, number, 0)
    return builder.EndObject()


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _text(builder: flatbuffers.Builder, text: str) -> int:
    return builder.CreateString(text) if text else 0


class _Reader:
    """Reads tables of bytes that nobody has verified: whatever they hold, it ends soon, with a result or an error."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_BYTES

    def model(self) -> MetadataEntry:
        if len(self._data) > MAX_BYTES:
            raise ValueError(f'{len(self._data)} bytes, expected at most {MAX_BYTES}')
        if self._data[4:8] != _FILE_IDENTIFIER:
            raise ValueError(f'file identifier {self._data[4:8]!r}, expected {_FILE_IDENTIFIER!r}')
        model = self._table_at(0)
        subgraphs = self._tables(model, _ModelSlots.SUBGRAPHS)
        inputs = self._tables(subgraphs[0], _SubgraphSlots.INPUTS) if subgraphs else []
        outputs = self._tables(subgraphs[0], _SubgraphSlots.OUTPUTS) if subgraphs else []
        return MetadataEntry(
            name=self._text(model, _ModelSlots.NAME),
            version=self._text(model, _ModelSlots.VERSION),
            author=self._text(model, _ModelSlots.AUTHOR),
            license=self._text(model, _ModelSlots.LICENSE),
            description=self._text(model, _ModelSlots.DESCRIPTION),
            inputs=tuple(self._tensor(table) for table in inputs),
            outputs=tuple(self._tensor(table) for table in outputs),
        )

    def _tensor(self, table: Table) -> TensorEntry:
        labels = ''
        for file in self._tables(table, _TensorSlots.FILES):
            slot = self._slot(file, _FileSlots.TYPE)
            kind = file.Get(number_types.Uint8Flags, self._inside(slot, 1)) if slot else 0
            # The schema: of several files of a kind, the first is the default.
            if kind == _TENSOR_AXIS_LABELS and not labels:
                labels = self._text(file, _FileSlots.NAME)
        return TensorEntry(
            self._text(table, _TensorSlots.NAME), self._text(table, _TensorSlots.DESCRIPTION), labels
        )

    def _text(self, table: Table, slot: int) -> str:
        start, length = self._vector(table, slot, 1)
        return self._data[start : start + length].decode()

    def _tables(self, table: Table, slot: int) -> list[Table]:
        start, length = self._vector(table, slot, 4)
        return [self._table_at(start + 4 * index) for index in range(length)]

    def _vector(self, table: Table, slot: int, element: int) -> tuple[int, int]:
        """Where a field's elements start, and how many there are; none when it is left out."""
        field = self._slot(table, slot)
        if not field:
            return 0, 0
        start = table.Indirect(self._inside(field, 4))
        length = table.Get(number_types.UOffsetTFlags, self._inside(start, 4))
        self._left -= length * element
        if self._left < 0:
            raise ValueError(f'more than {MAX_BYTES} bytes to read')
        return self._inside(start + 4, length * element), length

    def _slot(self, table: Table, slot: int) -> int:
        """Where a field lies, or 0 when it is left out."""
        self._inside(table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos), 4)
        offset = table.Offset(4 + 2 * slot)
        return table.Pos + offset if offset else 0

    def _table_at(self, position: int) -> Table:
        offset = Table(self._data, 0).Get(number_types.UOffsetTFlags, self._inside(position, 4))
        return Table(self._data, self._inside(position + offset, 4))

    def _inside(self, position: int, size: int) -> int:
        if not 0 <= position <= len(self._data) - size:
            raise ValueError(f'an offset leads to byte {position} of {len(self._data)}')
        return position
