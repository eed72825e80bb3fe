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


class TrainingBatches(Iterator[dict[str, np.ndarray]]):
    """Batches without end, and how many different examples they hold.

    Attributes:
      num_examples: different records; 0 when there are more than are held to shuffle.
    """

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], num_examples: int) -> None:
        self._batches = batches
        self.num_examples = num_examples

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._batches)


def training_batches(
    files: Sequence[str], parser: ExampleParser, batch_size: int, seed: int
) -> TrainingBatches:
    """Batches without end; the seed decides the order of each pass over the records.

    Up to half a gigabyte of records, the order depends only on their content and the seed, not on how the workers of
    an ExampleGen spread them over files. More records are shuffled in a buffer of that size, file by file.

    Args:
      files: TFRecord files.
      parser: makes arrays of the records.
      batch_size: examples in a batch.
      seed: of the order.

    Returns:
      Arrays of shape (batch_size, ...) by input name.

    Raises:
      EdgeError: the files hold no record, or one is damaged, or (from a batch) an example does not fit; its place is
        named.

    Example:
      >>> next(training_batches(files, parser, 64, seed=0))['image'].shape
      (64, 8, 8, 1)
    """
    held, complete = _hold(read_records(sorted(files)))
    if not held:
        raise EdgeError(f'{", ".join(files)} hold no example; expected at least one. Name another split.')
    if not complete:
        return TrainingBatches(_parsed(_streamed(files, len(held), seed), files, parser, batch_size), 0)
    contents = [record_content(record) for record in held]
    ordered = [held[index] for index in sorted(range(len(held)), key=contents.__getitem__)]
    return TrainingBatches(_parsed(_shuffled(ordered, seed), files, parser, batch_size), len(set(contents)))


def _parsed(
    records: Iterator[bytes], files: Sequence[str], parser: ExampleParser, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
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
