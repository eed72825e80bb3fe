"""Labels as a text file, one in each line, in a ZIP that follows a `.tflite` model in the same file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence

from tfx_edge.components.core.errors import EdgeError

NAME = 'labels.txt'

# 16 MiB, more than the labels of any model take: a small archive may unpack to more than the memory holds.
_MAX_BYTES = 2**24
# The oldest time a ZIP can hold: a fixed one, so that the bytes depend on the content alone.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def pack(offset: int, labels: Sequence[str]) -> bytes:
    """Writes the archive; the same labels give the same bytes.

    Args:
      offset: bytes of the model before it: offsets in the archive count from the beginning of the file.
      labels: each is one line of text.

    Returns:
      What is to be appended to the model.

    Raises:
      EdgeError: a label is no Unicode, or all together are larger than can be read again.
    """
    try:
        text = ''.join(f'{label}\n' for label in labels).encode()
    except UnicodeEncodeError as error:
        raise EdgeError(f'the labels hold text that is no Unicode ({error}); write them again.') from error
    if len(text) > _MAX_BYTES:
        raise EdgeError(f'the labels take {len(text)} bytes; expected at most {_MAX_BYTES}: shorten them.')
    # Zeros stand for the model: zipfile would look for an archive in it.
    file = io.BytesIO(bytes(offset))
    with zipfile.ZipFile(file, 'a') as archive:
        member = zipfile.ZipInfo(NAME, _TIMESTAMP)
        member.create_system, member.external_attr = _UNIX, 0o644 << 16
        member.compress_type = zipfile.ZIP_STORED
        archive.writestr(member, text)
    return file.getvalue()[offset:]


def unpack(model: bytes, name: str) -> tuple[str, ...]:
    """The lines of a file in the archive behind a model; it is read in memory, and never unpacked elsewhere.

    Args:
      model: bytes of a `.tflite` file.
      name: of the file in the archive.

    Raises:
      EdgeError: it is missing, damaged, no text, or larger than 16 MiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            member = archive.getinfo(name)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f'compression {member.compress_type}, expected none or DEFLATE')
            with archive.open(member) as file:
                text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f'more than {_MAX_BYTES} bytes')
        return tuple(text.decode().replace('\r\n', '\n').removesuffix('\n').split('\n'))
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        IndexError,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:
        raise EdgeError(
            f'the label file {name!r} that the metadata name cannot be read ({_one_line(error)}); '
            'it is missing or damaged: write the metadata again, after every other change of the file.'
        ) from error


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
