"""The stream of training batches: shuffled, endless, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import ExampleParser, read_records

_SHUFFLE_BUFFER = 16_384


def training_batches(
    files: Sequence[str], parser: ExampleParser, batch_size: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches without end; each pass over the files in another order that the seed decides.

    Args:
      files: TFRecord files.
      parser: makes arrays of the records.
      batch_size: examples in a batch.
      seed: of the order.

    Yields:
      Arrays of shape (batch_size, ...) by input name.

    Raises:
      EdgeError: the files hold no record, or one is damaged, or an example does not fit.

    Example:
      >>> next(training_batches(files, parser, 64, seed=0))['image'].shape
      (64, 8, 8, 1)
    """
    if next(read_records(files), None) is None:
        raise EdgeError(f'{", ".join(files)} hold no example; expected at least one. Name another split.')
    dataset = tf.data.Dataset.from_tensor_slices(sorted(files)).flat_map(_records)
    dataset = dataset.shuffle(_SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True).repeat()
    iterator = dataset.batch(batch_size).prefetch(2).as_numpy_iterator()
    while True:
        try:
            records = next(iterator)
        except tf.errors.DataLossError:
            for _ in read_records(files):  # finds the damaged file and names it
                pass
            raise
        yield parser(list(records))


def _records(file: tf.Tensor) -> tf.data.Dataset:
    zipped = tf.strings.regex_full_match(file, r'.*\.gz')
    return tf.data.TFRecordDataset(file, compression_type=tf.where(zipped, 'GZIP', ''))
