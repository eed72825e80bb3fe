"""Examples from TFRecord files into TFMA, on Beam."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import read_records

_KINDS = {
    schema_pb2.FeatureType.INT: 'int64_list',
    schema_pb2.FeatureType.FLOAT: 'float_list',
    schema_pb2.FeatureType.BYTES: 'bytes_list',
}


# tfx-bsl's own limit.
_LARGEST_BATCH = 1000
_BATCH_BYTES = 1 << 22
_LOOKED_AT = 16


class ReadExamples(beam.PTransform):
    """Reads files of tf.Examples, each by one worker, as the Arrow batches that TFMA's extractors take.

    Args:
      files: TFRecord files.
      schema: of the examples, or None to go by what each batch holds.

    Raises:
      EdgeError: (on a worker) a file is unreadable, a record is no tf.Example, or a feature has
        another type than in the schema.
    """

    def __init__(self, files: Sequence[str], schema: schema_pb2.Schema | None) -> None:
        super().__init__()
        self._files = list(files)
        self._schema = schema
        self._tfxio = tfxio.TFExampleBeamRecord(
            physical_format='tfrecord',
            telemetry_descriptors=['EdgeEvaluator'],
            schema=schema,
            raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN,
        )

    def tensor_adapter_config(self) -> Any:
        """How the schema says to read each feature, for TFMA; None without a schema."""
        if self._schema is None:
            return None
        return tfxio.TensorAdapterConfig(
            arrow_schema=self._tfxio.ArrowSchema(),
            tensor_representations=self._tfxio.TensorRepresentations(),
        )

    def expand(self, pbegin: Any) -> Any:
        kinds = (
            {f.name: _KINDS[f.type] for f in self._schema.feature if f.type in _KINDS} if self._schema else {}
        )
        return (
            pbegin
            | 'Files' >> beam.Create(self._files, reshuffle=False)
            | 'Spread' >> beam.Reshuffle()
            | 'Read' >> beam.FlatMap(_checked_records, kinds).with_output_types(bytes)
            | 'ToArrow' >> self._tfxio.BeamSource(batch_size(self._files))
        )


def batch_size(files: Sequence[str]) -> int:
    """How many records make a batch: as many as stay in a processor's cache while they are decoded.

    Memory of large batches is handed back to the system after each, and asked for anew.

    Args:
      files: TFRecord files, of which the first records are read.

    Example:
      >>> with tf.io.TFRecordWriter('images') as writer:
      ...     writer.write(bytes(2**17))
      >>> batch_size(['images'])
      32
    """
    sizes = [len(record) for record in itertools.islice(read_records(files), _LOOKED_AT)]
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES * len(sizes) // max(sum(sizes), 1))) if sizes else 1


def require_examples(files: Sequence[str], split: str) -> None:
    """Refuses a split without an example before anything else is done; reads one record."""
    if next(read_records(files), None) is None:
        raise EdgeError(
            f'split {split!r} is empty ({len(files)} files without a record); '
            'give examples to evaluate on, or name another split in example_splits.'
        )


def _checked_records(file: str, kinds: Mapping[str, str]) -> Iterator[bytes]:
    """The records of a file; errors of TFMA's own reader name neither the file nor the remedy."""
    for number, record in enumerate(read_records([file])):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception as error:  # protobuf's error class differs between its implementations
            raise EdgeError(
                f'record {number} of {file} is not a tf.Example ({error}); give examples as tf.Examples.'
            ) from error
        for name, feature in features.items() if kinds else ():  # reading the map takes longer than parsing
            kind = feature.WhichOneof('kind')
            if name in kinds and kind not in (None, kinds[name]):
                raise EdgeError(
                    f'feature {name!r} is {kind} in record {number} of {file}, but {kinds[name]} in the schema; '
                    'correct the examples or the schema.'
                )
        yield record
