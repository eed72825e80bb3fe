"""The stream of training batches: shuffled, endless, and the same for the same seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser, read_records, record_content
from tfx_edge.components.core.examples.record_places import first_fault

_HELD_BYTES = 2**29  # of records held to shuffle: half a gigabyte


def training_batches(
    files: Sequence[str], parser: ExampleParser, batch_size: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches without end; the seed decides the order of each pass over the records.

    Up to half a gigabyte of records, the order depends only on their content and the seed, not on how the workers of
    an ExampleGen spread them over files. More records are shuffled in a buffer of that size, file by file.

    Args:
      files: TFRecord files.
      parser: makes arrays of the records.
      batch_size: examples in a batch.
      seed: of the order.

    Yields:
      Arrays of shape (batch_size, ...) by input name.

    Raises:
      EdgeError: the files hold no record, or one is damaged, or an example does not fit; its place is named.

    Example:
      >>> next(training_batches(files, parser, 64, seed=0))['image'].shape
      (64, 8, 8, 1)
    """
    held, complete = _hold(read_records(sorted(files)))
    if not held:
        raise EdgeError(f'{", ".join(files)} hold no example; expected at least one. Name another split.')
    records = (
        _shuffled(sorted(held, key=record_content), seed) if complete else _streamed(files, len(held), seed)
    )
    del held
    while True:
        try:
            batch = parser(list(itertools.islice(records, batch_size)))
        except EdgeError as error:
            raise first_fault(sorted(files), lambda record: parser([record])) or error from error
        yield batch


def _hold(records: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """As many records as may be held at once, and whether they are all."""
    held, size = [], 0
    for record in records:
        held.append(record)
        size += len(record)
        if size > _HELD_BYTES:
            return held, False
    return held, True


def _shuffled(records: Sequence[bytes], seed: int) -> Iterator[bytes]:
    random = np.random.default_rng(seed)
    while True:
        yield from (records[index] for index in random.permutation(len(records)))


def _streamed(files: Sequence[str], buffer_size: int, seed: int) -> Iterator[bytes]:
    dataset = tf.data.Dataset.from_tensor_slices(sorted(files)).flat_map(_records)
    dataset = dataset.shuffle(buffer_size, seed=seed, reshuffle_each_iteration=True).repeat().prefetch(2)
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.DataLossError:
        for _ in read_records(files):  # finds the damaged file and names it
            pass
        raise


def _records(file: tf.Tensor) -> tf.data.Dataset:
    zipped = tf.strings.regex_full_match(file, r'.*\.gz')
    return tf.data.TFRecordDataset(file, compression_type=tf.where(zipped, 'GZIP', ''))
