"""A `.tflite` file that is verified once, and parsed once however many modules read it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tfx_edge.components.core.litert.file import flatbuffer

_Fact = TypeVar('_Fact')


class ModelFile:
    """The bytes of a file, their parsed content, and facts computed from them; none of these may change.

    The runtime verifies the bytes once. Between processes of tfx-edge, a file is sent as its bytes, which are not
    verified again.

    Args:
      data: bytes of a `.tflite` file, from anywhere.

    Raises:
      EdgeError: it is damaged.

    Example:
      >>> file = ModelFile(pathlib.Path('digits.tflite').read_bytes())
      >>> len(file.content.subgraphs), inspect_model(file).float_ops
      (1, ())
    """

    __slots__ = ('_content', '_data', '_facts')
    _data: bytes
    _content: flatbuffer.schema.ModelT | None
    _facts: dict[Hashable, Any]

    def __init__(self, data: bytes) -> None:
        flatbuffer.verify(data)
        self._hold(bytes(data))

    @classmethod
    def of(cls, model: bytes | ModelFile) -> ModelFile:
        """The same file, or one of these bytes.

        Args:
          model: bytes of a `.tflite` file, from anywhere, or a ModelFile.

        Returns:
          `model` itself where it is a ModelFile.

        Raises:
          EdgeError: the bytes are damaged.
        """
        return model if isinstance(model, ModelFile) else cls(model)

    @classmethod
    def of_content(cls, content: flatbuffer.schema.ModelT) -> ModelFile:
        """The file that tfx-edge packs; the same content gives the same bytes.

        It is not verified: packed by the format's own library, it is as sound as the file that was read before.
        Whatever runs it verifies it once more.

        Args:
          content: the file's objects; changing them afterwards does not change the file.

        Raises:
          EdgeError: it is larger than a file of this format can be.
        """
        return _restored(flatbuffer.write(content))

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self._data

    @property
    def content(self) -> flatbuffer.schema.ModelT:
        """The file's objects, parsed at the first access. To be read only; see `changeable`.

        Raises:
          EdgeError: the file contradicts itself.
        """
        if self._content is None:
            self._content = flatbuffer.parse(self._data)
        return self._content

    def changeable(self) -> flatbuffer.schema.ModelT:
        """A copy of the file's objects, which the caller may change and pack again.

        Returns:
          Objects that share nothing with `content` or `data`.

        Raises:
          EdgeError: the file contradicts itself.

        Example:
          >>> content = file.changeable()
          >>> content.description = b'digits'
          >>> renamed = ModelFile.of_content(content)
        """
        return flatbuffer.parse(bytearray(self._data))

    def once(self, question: Hashable, find: Callable[[], _Fact]) -> _Fact:
        """A fact about the file, computed at the first call and kept.

        Args:
          question: identifies the fact, and all that it depends on besides the file.
          find: computes the fact. If it raises, nothing is kept, and the next call computes it again.

        Returns:
          What `find` returned, which nobody may change.

        Example:
          >>> names = file.once('names of tensors', lambda: tuple(read_names(file.content)))
        """
        if question not in self._facts:
            self._facts[question] = find()
        found: _Fact = self._facts[question]
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelFile) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f'ModelFile({len(self._data)} bytes)'

    def __reduce__(self) -> tuple[Callable[[bytes], ModelFile], tuple[bytes]]:
        return _restored, (self._data,)

    def _hold(self, data: bytes) -> None:
        self._data = data
        self._content = None
        self._facts = {}


def _restored(data: bytes) -> ModelFile:
    """A file that was verified before, or that tfx-edge packed."""
    file = ModelFile.__new__(ModelFile)
    file._hold(data)
    return file
