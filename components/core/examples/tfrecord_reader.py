"""TensorFlow's own reader of TFRecord files, called without tf.data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import tensorflow as tf

# tf.data makes a graph for each file and copies each record several times: on images of 100 kB it takes five times as
# long. TensorFlow advises against this function where a pipeline of tf.data follows, and says so at each start; there
# is none here, so it is called without that.
_iterator = inspect.unwrap(tf.compat.v1.io.tf_record_iterator)


def records_of(file: str) -> Iterator[bytes]:
    """The records of a TFRecord file (GZIP where the name ends in .gz), whose checksums hold.

    Args:
      file: on any file system that TensorFlow knows.

    Raises:
      tf.errors.OpError: the file cannot be read, or is damaged or truncated.

    Example:
      >>> with tf.io.TFRecordWriter('numbers') as writer:
      ...     writer.write(b'one')
      >>> list(records_of('numbers'))
      [b'one']
    """
    return _iterator(file, tf.io.TFRecordOptions(compression_type='GZIP' if file.endswith('.gz') else ''))
