"""Names the file and number of a record that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import read_records

_LOG = logging.getLogger(__name__)

# How many records are searched for the fault; if it is not among them, the error names no place.
_LOOKED_AT = 100_000
# Beginnings of messages whose subject is a record.
_SUBJECTS = ('a record ', 'an example ')


def place_text(file: str, number: int) -> str:
    """A place, as messages name it; the first record of a file is number 0."""
    return f'record {number} of {file}'


def at_place(error: EdgeError, file: str, number: int) -> EdgeError:
    """The same error with the place of the record."""
    message = str(error)
    for subject in _SUBJECTS:
        if message.startswith(subject):
            return EdgeError(place_text(file, number) + message[len(subject) - 1 :])
    return EdgeError(f'{place_text(file, number)}: {message}')


def is_of_a_record(error: EdgeError) -> bool:
    """Whether a parser's error is about one record, and does not say which."""
    return str(error).startswith((*_SUBJECTS, 'feature ', 'raw feature ', 'the records are '))


def first_fault(files: Sequence[str], read: Callable[[bytes], object]) -> EdgeError | None:
    """The fault of the first record that cannot be read, with its place.

    Args:
      files: TFRecord files.
      read: raises an EdgeError for a record that cannot.

    Returns:
      The error; None if there is none among the first 100,000 records.

    Raises:
      EdgeError: a file is unreadable.

    Example:
      >>> first_fault(files, lambda record: parser([record]))
      EdgeError("record 17 of Split-train/data-00000-of-00001.gz has no feature 'x', which …")
    """
    _LOG.info('looking for the record')
    for file, number, record in numbered_records(files):
        try:
            read(record)
        except EdgeError as error:
            return at_place(error, file, number)
    return None


def numbered_records(files: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
    """The first 100,000 records of files, each with its file and its number there.

    Args:
      files: TFRecord files.

    Yields:
      File, number from 0, record.

    Raises:
      EdgeError: a file is unreadable.

    Example:
      >>> list(numbered_records([]))
      []
    """
    seen = 0
    for file in files:
        for number, record in enumerate(read_records([file])):
            yield file, number, record
            seen += 1
            if seen == _LOOKED_AT:
                return
