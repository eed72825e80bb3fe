"""A few records of an example set: the same ones whatever the order, the files and the workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.examples.example_parser import content_hash


class SampleRecords(beam.PTransform):
    """Takes the records whose content has the smallest SHA-256.

    Args:
      size: how many at most.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def expand(self, batches: Any) -> Any:
        """Takes the Arrow batches that TFMA's extractors take; gives one list of serialized tf.Examples."""
        return (
            batches
            | 'Records' >> beam.FlatMap(_records)
            | 'Hash' >> beam.Map(_with_hash)
            | 'SmallestHashes' >> beam.combiners.Top.Smallest(self._size)
            | 'WithoutHash' >> beam.Map(_without_hash)
        )


class KeepSample(beam.PTransform):
    """Writes the records of SampleRecords to one TFRecord file.

    Args:
      size: how many at most.
      path: of the file.
    """

    def __init__(self, size: int, path: str) -> None:
        super().__init__()
        self._size = size
        self._path = path

    def expand(self, batches: Any) -> Any:
        """Takes the Arrow batches that TFMA's extractors take."""
        return batches | SampleRecords(self._size) | 'ToFile' >> beam.Map(_write, self._path)


def _records(batch: Any) -> Iterator[bytes]:
    for row in batch.column(batch.schema.get_field_index(tfma.constants.ARROW_INPUT_COLUMN)).to_pylist():
        yield from row


def _with_hash(record: bytes) -> tuple[bytes, bytes]:
    return content_hash(record), record


def _without_hash(chosen: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [record for _, record in chosen]


def _write(records: Sequence[bytes], path: str) -> None:
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
