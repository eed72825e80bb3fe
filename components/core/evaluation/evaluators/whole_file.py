"""Files that are there whole or not at all, whenever a worker that writes them ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import tensorflow as tf


def write_text(path: str, text: str) -> None:
    """Writes a text file.

    Args:
      path: of the file, on any file system that TensorFlow knows.
      text: of the file.

    Example:
      >>> write_text('total.json', '3')
    """
    with _written_beside(path) as draft, tf.io.gfile.GFile(draft, 'w') as file:
        file.write(text)


def write_records(path: str, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file without compression.

    Args:
      path: of the file, on any file system that TensorFlow knows.
      records: in their order.

    Example:
      >>> write_records('some.tfrecord', [b'first', b'second'])
    """
    with _written_beside(path) as draft, tf.io.TFRecordWriter(draft) as writer:
        for record in records:
            writer.write(record)


@contextlib.contextmanager
def _written_beside(path: str) -> Iterator[str]:
    """A second attempt writes over what a first one left: the name is the same for both."""
    draft = f'{path}.unfinished'
    yield draft
    tf.io.gfile.rename(draft, path, overwrite=True)
