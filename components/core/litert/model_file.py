"""A `.tflite` file that was verified once, and is parsed once however many rooms read it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tfx_edge.components.core.litert import flatbuffer

_Fact = TypeVar('_Fact')


class ModelFile:
    """The bytes of a file, what they say, and what was found out about them; all of it stays as it is.

    Made of bytes, it is verified by the runtime, once. It travels between processes of tfx-edge as its bytes, which
    are not verified again.

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
          model: bytes of a `.tflite` file, from anywhere, or what has been made of them.

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
          content: what it says; may be changed afterwards, which does not change the file.

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
        """What the file says, parsed when it is first asked for. To be read only; see `changeable`.

        Raises:
          EdgeError: the file contradicts itself.
        """
        if self._content is None:
            self._content = flatbuffer.parse(self._data)
        return self._content

    def changeable(self) -> flatbuffer.schema.ModelT:
        """What the file says, as objects of the caller's own, to be changed and packed again.

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
        """A fact about the file, found out when it is first asked for.

        Args:
          question: what is asked, and all that the answer depends on besides the file.
          find: finds it out; what it raises is raised, and asked again the next time.

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
