"""tf.Examples in, dense batches by input name out."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.dense_function.preparation import Preparation
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import record_faults
from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED, Stages, decide_stage
from tfx_edge.components.core.examples.input_values import as_input
from tfx_edge.components.core.examples.stored_features import StoredFeatures
from tfx_edge.components.core.examples.tfrecord_reader import records_of
from tfx_edge.components.core.examples.transform_graph import TransformGraph, made_features
from tfx_edge.components.core.signature import TensorSpec

# How files of other formats begin.
_PARQUET, _GZIP = b'PAR1', b'\x1f\x8b'


class ExampleParser:
    """Turns serialized tf.Examples into one dense array for each input of a signature.

    Features are matched to inputs by name and by the number of values; the numbers are taken in the input's type
    (`input_values`). With a schema, its defaults fill what is absent, and features that it lets vary in length are
    filled up with 0 (`dense_rows`); with a transform graph, raw examples go through it first, and transformed ones are
    read as it says that they were written.
    Raw examples may lack features that nothing requested depends on, such as the label. An instance can be
    pickled: each process makes TensorFlow's objects itself.

    Args:
      inputs: specs by input name; dimension 0 is the batch.
      schema: of the examples as stored, or None.
      transform_graph: folder of a TransformGraph, or None.
      label_key: one more feature to return, of any shape, or ''.
      stage: with a transform graph, whether the examples are RAW or TRANSFORMED (`example_stage`); '' to decide by
        the first batch, with an EdgeError where that is not possible.
      also_made: outputs of the transform graph that must be made too, where it has them.
      preparation: what the model does with words or encoded images before the inputs; None where the examples, or the
        transform graph, hold the inputs.

    Example:
      >>> parser = ExampleParser({'image': TensorSpec((None, 8, 8, 1), tf.float32)})
      >>> parser(records)['image'].shape
      (64, 8, 8, 1)
    """

    def __init__(
        self,
        inputs: Mapping[str, TensorSpec],
        *,
        schema: schema_pb2.Schema | None = None,
        transform_graph: str | None = None,
        label_key: str = '',
        stage: str = '',
        also_made: Sequence[str] = (),
        preparation: Preparation | None = None,
    ) -> None:
        self._inputs = dict(inputs)
        self._preparation = preparation
        # What is read: the inputs themselves, or the features that they are made of.
        self._read = dict(inputs) if preparation is None else dict(preparation.features)
        self._schema = schema
        self._transform_graph = transform_graph
        self._label_key = label_key
        self._stage = stage if transform_graph else TRANSFORMED
        self._also_made = tuple(also_made)
        self._transform: TransformGraph | None = None
        self._reader: StoredFeatures | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_transform': None, '_reader': None}

    def __call__(self, records: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Parses a batch.

        Args:
          records: serialized tf.Examples, at least one.

        Returns:
          For each input (and the label key) an array of shape (len(records), ...) in its dtype.

        Raises:
          EdgeError: a record is no tf.Example, or lacks a feature, or has one of another type or shape.
        """
        return self.read(records)[0]

    def read(
        self, records: Sequence[bytes], decoded: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        """Parses a batch.

        Args:
          records: serialized tf.Examples, at least one.
          decoded: features of the same records, as TFMA's extractors decode them; they are not parsed again where they
            are what parsing gives.

        Returns:
          The batch, and all outputs of the transform graph, or None where none was applied.

        Raises:
          EdgeError: as for a call.
        """
        if not self._stage:
            self._stage = decide_stage(self.stages(records)).stage
        if self._stage == RAW:
            transformed = self._transformed(records)
            return self._as_inputs(transformed, records), transformed
        taken = self._decoded(decoded, len(records)) if decoded else None
        return self._as_inputs(self._stored(records) if taken is None else taken, records), None

    def stages(self, records: Sequence[bytes]) -> Stages:
        """Reads some examples as raw and as transformed, and returns what is wrong with each.

        Args:
          records: serialized tf.Examples, at least one.
        """
        present = {name for record in records for name in record_faults.decode(record).features.feature}
        absent = [name for name in self._loaded_transform.raw_features if name not in present]
        return Stages(
            inputs=tuple(self._read),
            not_raw=_fault(
                lambda: self._as_inputs(self._transformed(records, label=False), records, label=False)
            ),
            surely_not_raw=_fault(lambda: self._transformed(records, label=False, without=absent)),
            not_transformed=_fault(lambda: self._as_if_transformed(records)),
        )

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Specs by input name."""
        return self._inputs

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """Specs of what is read: the inputs, or the features that they are made of."""
        return self._read

    @property
    def only_reads(self) -> bool:
        """Whether the inputs are features as they are stored, so that no row depends on the others of its batch."""
        return self._stage == TRANSFORMED and self._preparation is None

    @property
    def stage(self) -> str:
        """RAW or TRANSFORMED; '' where that is not known before the first batch."""
        return self._stage

    @property
    def transform_graph(self) -> str | None:
        """Folder of the transform graph, or None."""
        return self._transform_graph

    @property
    def raw_features(self) -> Mapping[str, object]:
        """TensorFlow's feature spec of what the transform graph takes, by name."""
        return self._loaded_transform.raw_features

    @property
    def made_features(self) -> Mapping[str, object]:
        """TensorFlow's feature spec of what the transform graph makes, by name."""
        return self._loaded_transform.outputs

    def at_stage(self, stage: str) -> ExampleParser:
        """A copy of this parser for examples that are known to be RAW or TRANSFORMED."""
        settled = copy.copy(self)
        settled._stage = stage
        return settled

    @property
    def _loaded_transform(self) -> TransformGraph:
        if self._transform is None:
            assert self._transform_graph is not None
            self._transform = TransformGraph(self._transform_graph)
        return self._transform

    def _wanted(self, *, label: bool = True) -> dict[str, TensorSpec | None]:
        """Specs of the features to read; None for a label that is none of them."""
        with_label = label and self._label_key not in ('', *self._read)
        return {**self._read, **({self._label_key: None} if with_label else {})}

    def _as_inputs(
        self, features: Mapping[str, np.ndarray], records: Sequence[bytes], *, label: bool = True
    ) -> dict[str, np.ndarray]:
        read = {
            name: features[name]
            if spec is None or spec.dtype == tf.string
            else as_input(name, features[name], spec)
            for name, spec in self._wanted(label=label).items()
        }
        if self._preparation is None:
            return read
        made = self._preparation(records if self._preparation.takes_examples else read)
        inputs = {name: as_input(name, made[name], spec) for name, spec in self._inputs.items()}
        return inputs | ({self._label_key: read[self._label_key]} if self._label_key in read else {})

    def _transformed(
        self, records: Sequence[bytes], *, label: bool = True, without: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        graph = self._loaded_transform
        also = [name for name in self._also_made if label and name in graph.outputs]
        return graph.apply(records, self._wanted(label=label), also=also, without=without)

    def _stored(self, records: Sequence[bytes], *, label: bool = True) -> dict[str, np.ndarray]:
        label_key = next((name for name, spec in self._wanted(label=label).items() if spec is None), '')
        return self._stored_features.parse(records, label_key)

    def _decoded(self, features: Mapping[str, Any], count: int) -> dict[str, np.ndarray] | None:
        if self._wanted().keys() != self._read.keys():
            return None  # the label may be of any type and shape
        return self._stored_features.decoded(features, count)

    def _as_if_transformed(self, records: Sequence[bytes]) -> None:
        self._stored_features.require_held(records)
        self._as_inputs(self._stored(records, label=False), records, label=False)

    @property
    def _stored_features(self) -> StoredFeatures:
        if self._reader is None:
            made = made_features(self._transform_graph) if self._transform_graph else {}
            self._reader = StoredFeatures(self._read, self._schema, made)
        return self._reader


def read_records(files: Sequence[str]) -> Iterator[bytes]:
    """The records of TFRecord files (GZIP where the name ends in .gz), file after file.

    Raises:
      EdgeError: a file is unreadable or truncated; the message names it.

    Example:
      >>> sum(1 for _ in read_records(['Split-train/data_tfrecord-00000-of-00001.gz']))
      1438
    """
    for file in files:
        try:
            yield from records_of(file)
        except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
            raise EdgeError(
                f'{file} cannot be read as a TFRecord file ({_first_line(error)}); {_remedy(file)}'
            ) from error


def _remedy(file: str) -> str:
    """The remedy for a file that is no TFRecord file, by its first bytes."""
    try:
        with tf.io.gfile.GFile(file, 'rb') as content:
            begin = content.read(4)
    except tf.errors.OpError:
        begin = b''
    if begin == _PARQUET:
        return 'it is a Parquet file: let the ExampleGen write tf.Examples to TFRecord files.'
    if begin.startswith(_GZIP) and not file.endswith('.gz'):
        return "it is compressed with GZIP: give it a name that ends in '.gz'."
    return 'it is damaged or truncated: run the step that wrote it again.'


def record_content(record: bytes) -> bytes:
    """A form of a record that is the same for the same features.

    The features of a tf.Example are a map, which may be written in any order: TFX 1.21's ExampleGen writes
    the same examples in another order in each run. So what must depend only on the content of records, such as
    their order in training or their choice for calibration, is computed from this form.

    Args:
      record: a serialized tf.Example.

    Returns:
      Its canonical serialization; the record itself if it is no tf.Example (parsing raises the error).
    """
    try:
        return tf.train.Example.FromString(record).SerializeToString(deterministic=True)
    except (DecodeError, SystemError):  # protobuf 3.20 raises the second for some bytes
        return record


def content_hash(record: bytes) -> bytes:
    """SHA-256 of what an example holds, not of how it is written."""
    return hashlib.sha256(record_content(record)).digest()


def _fault(read: Callable[[], object]) -> str:
    """What is wrong with reading, or ''."""
    try:
        read()
    except EdgeError as error:
        return str(error)
    return ''


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).split('\n', 1)[0]
