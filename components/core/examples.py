"""tf.Examples in, dense batches by input name out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import TensorSpec

# TensorFlow's threads would only hand the records over, and ending them takes longer than reading a file.
_IN_THIS_THREAD = tf.data.Options()
_IN_THIS_THREAD.autotune.enabled = False
_READ_AT_ONCE = 16

_KINDS = {'float_list': tf.float32, 'int64_list': tf.int64, 'bytes_list': tf.string}


class ExampleParser:
    """Turns serialized tf.Examples into one dense array for each input of a signature.

    Features are matched to inputs by name, shape and type: a floating input reads a float feature,
    an integer or boolean input an int64 feature. With a schema, its defaults fill what is absent;
    with a transform graph, raw examples go through it first (examples that already carry the
    transformed features are taken as they are). An instance can be pickled: TensorFlow's objects
    are made where they are used.

    Args:
      inputs: specs by input name; dimension 0 is the batch.
      schema: of the examples as stored, or None.
      transform_graph: folder of a TransformGraph, or None.
      label_key: one more feature to return, of any shape, or ''.

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
    ) -> None:
        self._inputs = dict(inputs)
        self._schema = schema
        self._transform_graph = transform_graph
        self._label_key = label_key
        self._transform: _Transform | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_transform': None}

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

    def read(self, records: Sequence[bytes]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        """Parses a batch, and returns beside it all outputs of the transform graph, or None where none was applied."""
        transformed = self._transformed(records) if self._needs_transform(records) else None
        features = _parse(records, self._stored_features(records)) if transformed is None else transformed
        return {name: self._as_input(name, features[name]) for name in self._wanted()}, transformed

    def _wanted(self) -> list[str]:
        return [*self._inputs, *([self._label_key] if self._label_key not in ('', *self._inputs) else [])]

    def _needs_transform(self, records: Sequence[bytes]) -> bool:
        if self._transform_graph is None:
            return False
        present = _example(records[0]).features.feature
        return any(name not in present for name in self._inputs)

    def _transformed(self, records: Sequence[bytes]) -> dict[str, np.ndarray]:
        if self._transform is None:
            assert self._transform_graph is not None
            self._transform = _Transform(self._transform_graph)
        features = self._transform(records)
        for name in self._wanted():
            if name not in features:
                raise EdgeError(
                    f'the transform graph has no output {name!r} (found: {", ".join(sorted(features))}); '
                    'name an input of the model after one of its outputs, or give another signature_name.'
                )
        return features

    def _stored_features(self, records: Sequence[bytes]) -> dict[str, tf.io.FixedLenFeature]:
        features = {}
        for name in self._wanted():
            spec = self._inputs.get(name) or _label_spec(name, records[0])
            dtype = (
                tf.float32 if spec.dtype.is_floating else tf.string if spec.dtype == tf.string else tf.int64
            )
            features[name] = tf.io.FixedLenFeature(spec.row_shape, dtype, self._default(name))
        return features

    def _default(self, name: str) -> Any:
        """A schema's own default for a feature that an example may leave out."""
        if self._schema is None or not any(f.name == name for f in self._schema.feature):
            return None
        # Imported here: tensorflow-transform takes seconds, and most callers have no schema.
        from tensorflow_transform.tf_metadata import schema_utils

        try:
            spec = schema_utils.schema_as_feature_spec(self._schema).feature_spec.get(name)
        except ValueError as error:
            message = ' '.join(str(error).split())
            raise EdgeError(f'the schema gives no feature spec ({message}); correct the schema.') from error
        return getattr(spec, 'default_value', None)

    def _as_input(self, name: str, values: np.ndarray) -> np.ndarray:
        spec = self._inputs.get(name)
        if spec is None:
            return values
        stored = np.dtype(values.dtype)
        wanted = np.dtype(spec.dtype.as_numpy_dtype)
        if spec.dtype.is_floating != bool(np.issubdtype(stored, np.floating)):
            raise _wrong_type(name, stored.name, spec)
        if values.shape[1:] != spec.row_shape:
            if np.prod(values.shape[1:]) != np.prod(spec.row_shape):
                raise _wrong_shape(name, values.shape[1:], spec)
            values = values.reshape((len(values), *spec.row_shape))
        cast = values.astype(wanted)
        if not spec.dtype.is_floating and not np.array_equal(cast.astype(stored), values):
            raise EdgeError(
                f'feature {name!r} holds integers that do not fit input {name!r} of type {spec.dtype.name}; '
                'expected values within its range. Correct the examples.'
            )
        return cast


class _Transform:
    """A TransformGraph's raw feature spec and its function."""

    def __init__(self, folder: str) -> None:
        import tensorflow_transform as tft  # takes seconds; only users of a transform graph pay

        output = tft.TFTransformOutput(folder)
        self._raw_spec = output.raw_feature_spec()
        self._layer = output.transform_features_layer()

    def __call__(self, records: Sequence[bytes]) -> dict[str, np.ndarray]:
        try:
            raw = tf.io.parse_example(tf.constant(list(records)), self._raw_spec)
        except tf.errors.InvalidArgumentError as error:
            raise EdgeError(
                f'an example does not fit the raw features of the transform graph ({_first_line(error)}); '
                'give the examples that Transform was given.'
            ) from error
        outputs = self._layer(raw)
        return {
            name: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value).numpy()
            for name, value in outputs.items()
        }


def read_records(files: Sequence[str]) -> Iterator[bytes]:
    """The records of TFRecord files (GZIP where the name ends in .gz), file after file.

    Raises:
      EdgeError: a file is unreadable or truncated; the message names it.

    Example:
      >>> sum(1 for _ in read_records(['Split-train/data_tfrecord-00000-of-00001.gz']))
      1438
    """
    for file in files:
        dataset = tf.data.TFRecordDataset([file], compression_type='GZIP' if file.endswith('.gz') else '')
        try:
            for records in dataset.batch(_READ_AT_ONCE).with_options(_IN_THIS_THREAD).as_numpy_iterator():
                yield from records
        except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
            raise EdgeError(
                f'{file} cannot be read as a TFRecord file ({_first_line(error)}); '
                'it is damaged or truncated: run the step that wrote it again.'
            ) from error


def record_content(record: bytes) -> bytes:
    """A form of a record that is the same for the same features.

    The features of a tf.Example are a map, which may be written in any order: TFX 1.21's ExampleGen writes
    the same examples in another one in each run. So what is to follow from the content of records, such as their
    order in training or their choice for calibration, follows from this.

    Args:
      record: a serialized tf.Example.

    Returns:
      Its canonical serialization; the record itself if it is no tf.Example (parsing will tell).
    """
    try:
        return tf.train.Example.FromString(record).SerializeToString(deterministic=True)
    except (DecodeError, SystemError):  # protobuf 3.20 raises the second for some bytes
        return record


def content_hash(record: bytes) -> bytes:
    """SHA-256 of what an example holds, not of how it is written."""
    return hashlib.sha256(record_content(record)).digest()


def _parse(records: Sequence[bytes], features: dict[str, tf.io.FixedLenFeature]) -> dict[str, np.ndarray]:
    try:
        parsed = tf.io.parse_example(tf.constant(list(records)), features)
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        # TensorFlow quotes the record in its message, which need not be text.
        for record in records:
            _explain(record, features)
        raise EdgeError(
            f'the examples cannot be parsed ({error}); give tf.Examples with dense features.'.replace(
                '\n', ' '
            )
        ) from error
    return {name: value.numpy() for name, value in parsed.items()}


def _explain(record: bytes, features: Mapping[str, tf.io.FixedLenFeature]) -> None:
    """Raises the error that names what is wrong with a record; TensorFlow's own names no remedy."""
    present = _example(record).features.feature
    for name, feature in features.items():
        spec = TensorSpec((None, *feature.shape), feature.dtype)
        kind = present[name].WhichOneof('kind') if name in present else None
        if kind is None:
            if feature.default_value is not None:
                continue
            raise EdgeError(
                f'an example has no feature {name!r}, which the model takes as input '
                f'(found: {", ".join(sorted(present)) or "none"}); give examples with that feature, '
                'a transform_graph that makes it, or another signature_name.'
            )
        if _KINDS[kind] != feature.dtype:
            raise _wrong_type(name, kind, spec)
        length = len(getattr(present[name], kind).value)
        if length != int(np.prod(feature.shape)):
            raise _wrong_shape(name, (length,), spec)


def _example(record: bytes) -> tf.train.Example:
    try:
        return tf.train.Example.FromString(record)
    except Exception as error:  # protobuf's error class differs between its implementations
        raise EdgeError(f'a record is not a tf.Example ({error}); give examples as tf.Examples.') from error


def _label_spec(name: str, record: bytes) -> TensorSpec:
    """A label may have any type and length: the first record tells."""
    present = _example(record).features.feature
    kind = present[name].WhichOneof('kind') if name in present else None
    if kind is None:
        raise EdgeError(
            f'an example has no feature {name!r}, which label_key names '
            f'(found: {", ".join(sorted(present)) or "none"}); name one of these.'
        )
    length = len(getattr(present[name], kind).value)
    return TensorSpec((None,) if length == 1 else (None, length), _KINDS[kind])


def _wrong_type(name: str, found: str, spec: TensorSpec) -> EdgeError:
    expected = 'a float feature' if spec.dtype.is_floating else 'an int64 feature'
    return EdgeError(
        f'feature {name!r} is {found}, but input {name!r} is {spec.dtype.name}; expected {expected}. '
        'Correct the examples, or give a transform_graph that converts it.'
    )


def _wrong_shape(name: str, found: Sequence[int], spec: TensorSpec) -> EdgeError:
    return EdgeError(
        f'feature {name!r} has the shape {tuple(found)}, but input {name!r} takes {spec.row_shape} '
        f'({int(np.prod(spec.row_shape))} values) in each example; correct the examples, or give another '
        'signature_name.'
    )


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).split('\n', 1)[0]
