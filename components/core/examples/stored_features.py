"""Features as examples store them: parsed by what a schema or a transform graph says of them, or by what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import record_faults
from tfx_edge.components.core.examples.dense_rows import dense_rows, values_in_rows
from tfx_edge.components.core.examples.schema_defaults import default_of
from tfx_edge.components.core.examples.schema_features import VariableFeature, variable_features
from tfx_edge.components.core.signature import TensorSpec

# The types in which numbers are stored.
_PARSED = {np.dtype(np.float32): tf.float32, np.dtype(np.int64): tf.int64}
_NOT_PARSED = (tf.errors.InvalidArgumentError, UnicodeDecodeError)


class StoredFeatures:
    """Parses the features that inputs are read from.

    A feature is dense, with as many values as its input takes, unless `schema` or `made` lets its length vary. A
    number may be stored as float or as int64, unless the transform graph that wrote it says which.

    Args:
      inputs: specs by input name.
      schema: of the examples as stored, or None.
      made: TensorFlow's feature spec of a transform graph's outputs, by name; it overrides the schema, which may be
        that of the raw examples. Empty where no transform graph wrote the examples.

    Raises:
      EdgeError: the schema contradicts itself.

    Example:
      >>> StoredFeatures({'age': TensorSpec((None, 1), tf.float32)}, None, {}).parse(records)['age'].shape
      (64, 1)
    """

    def __init__(
        self, inputs: Mapping[str, TensorSpec], schema: schema_pb2.Schema | None, made: Mapping[str, Any]
    ) -> None:
        self._inputs = inputs
        self._schema = schema
        self._variable = {
            **variable_features(schema, frozenset(inputs) - frozenset(made)),
            **{
                name: VariableFeature(feature)
                for name, feature in made.items()
                if not isinstance(feature, tf.io.FixedLenFeature)
            },
        }
        # Stored types of the dense features: those that are known, else those of the last examples.
        dense = inputs.keys() - self._variable.keys()
        self._types = {name: _first_type(name, inputs[name], schema, made) for name in sorted(dense)}
        self._settled = frozenset(made)
        self._has_seen_one = False

    def parse(self, records: Sequence[bytes], label: str = '') -> dict[str, np.ndarray]:
        """Parses a batch.

        Args:
          records: serialized tf.Examples, at least one.
          label: a further feature to read, of the length that the first example has, or ''.

        Returns:
          For each input an array of shape (len(records), ...) as stored, with as many values as it takes.

        Raises:
          EdgeError: a record is no tf.Example, or lacks a feature, or has one of another type or length.
        """
        labels = {label: self._label_feature(label, records[0])} if label else {}
        if not labels and not self._inputs:
            return {}
        if not self._has_seen_one:
            # TensorFlow logs an error of its own where the types are not those that were expected.
            self._types, self._has_seen_one = self._types_in(records[0]), True
        try:
            return self._parsed(records, self._types, labels)
        except _NOT_PARSED as error:
            kinds = [self._types_in(record) for record in records]
            if all(types == self._types for types in kinds):
                # TensorFlow quotes the record in its message, which need not be text.
                raise self._fault(records, labels, error) from error
        return self._parsed_by_types(records, kinds, labels)

    def decoded(self, features: Mapping[str, Any], count: int) -> dict[str, np.ndarray] | None:
        """What `parse` returns, of features that were decoded already.

        Args:
          features: of as many examples, by name: arrays of shape (count, ...) where all examples hold as many values.
          count: of examples.

        Returns:
          The same arrays as `parse`; None where only parsing tells what they are: a feature is not a number, is not
          held by every example, is of variable length or another type, or has a default.
        """
        found: dict[str, np.ndarray] = {}
        for name, spec in self._inputs.items():
            values = features.get(name)
            if name in self._variable or not isinstance(values, np.ndarray):
                return None
            dtype = _PARSED.get(values.dtype)
            shape = (count, *spec.row_shape)
            if dtype is None or values.shape[:1] != (count,) or values.size != np.prod(shape):
                return None
            if name in self._settled and dtype != self._types[name]:
                return None
            if default_of(self._schema, name, spec.row_shape, dtype) is not None:
                return None
            found[name] = values.reshape(shape)
        return found

    def require_held(self, records: Sequence[bytes]) -> None:
        """Refuses examples of which none holds a feature of variable length, which parsing accepts.

        Raises:
          EdgeError: there is such a feature.
        """
        present = {name for record in records for name in record_faults.decode(record).features.feature}
        for name, feature in self._variable.items():
            column = getattr(feature.parsed_as, 'value_key', None) or name
            if name in self._inputs and column not in present:
                raise record_faults.absent_input(name, dict.fromkeys(present))

    def _parsed(
        self, records: Sequence[bytes], types: Mapping[str, tf.DType], labels: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        features = {**self._features(types), **labels}
        parsed = tf.io.parse_example(tf.constant(list(records)), features)
        return {name: self._dense(name, value) for name, value in parsed.items()}

    def _parsed_by_types(
        self,
        records: Sequence[bytes],
        kinds: Sequence[Mapping[str, tf.DType]],
        labels: Mapping[str, Any],
    ) -> dict[str, np.ndarray]:
        """Parses in one call all records that store their numbers in the same types."""
        alike: dict[tuple[tf.DType, ...], list[int]] = {}
        for place, types in enumerate(kinds):
            alike.setdefault(tuple(types.values()), []).append(place)
        parts = []
        for places in alike.values():
            # The next batch is likely to be like this one.
            self._types = dict(kinds[places[0]])
            some = [records[place] for place in places]
            try:
                parts.append(self._parsed(some, self._types, labels))
            except _NOT_PARSED as error:
                raise self._fault(some, labels, error) from error
        order = np.argsort(np.concatenate(list(alike.values())))
        return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}

    def _features(self, types: Mapping[str, tf.DType]) -> dict[str, Any]:
        return {
            name: self._variable[name].parsed_as
            if name in self._variable
            else self._feature(name, self._inputs[name].row_shape, types[name])
            for name in self._inputs
        }

    def _feature(self, name: str, shape: tuple[int, ...], dtype: tf.DType) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature(shape, dtype, default_of(self._schema, name, shape, dtype))

    def _label_feature(self, name: str, record: bytes) -> tf.io.FixedLenFeature:
        spec = record_faults.label_spec(name, record)
        return self._feature(name, spec.row_shape, spec.dtype)

    def _dense(self, name: str, value: Any) -> np.ndarray:
        if name not in self._variable or name not in self._inputs:
            return value.numpy()
        feature = self._variable[name]
        held = values_in_rows(value)
        if feature.required and not held.all():
            raise EdgeError(
                f'an example holds no value in feature {name!r}, which the schema says every example has; correct the '
                'examples, or the presence of the feature in the schema.'
            )
        few = held[(held > 0) & (held < feature.least)]
        if len(few):
            raise EdgeError(
                f'an example holds {few[0]} values in feature {name!r}, and the schema says at least {feature.least}; '
                'correct the examples, or the value_count of the feature in the schema.'
            )
        has_width = isinstance(feature.parsed_as, tf.io.SparseFeature)
        return dense_rows(name, value, self._inputs[name], has_width=has_width)

    def _types_in(self, record: bytes) -> dict[str, tf.DType]:
        """The types in which a record stores its features, where they are not known already."""
        present = record_faults.decode(record).features.feature
        types = dict(self._types)
        for name in types.keys() - self._settled:
            kind = present[name].WhichOneof('kind') if name in present else None
            if kind in ('float_list', 'int64_list'):
                types[name] = record_faults.KINDS[kind]
        return types

    def _fault(
        self, records: Sequence[bytes], labels: Mapping[str, tf.io.FixedLenFeature], error: Exception
    ) -> EdgeError:
        for record in records:
            record_faults.require_inputs(record, self._features(self._types), self._inputs)
            for label, feature in labels.items():
                record_faults.require_label(record, label, feature)
        return EdgeError(
            f'the examples cannot be parsed ({" ".join(str(error).split())}); '
            'give tf.Examples with dense features.'
        )


def _first_type(
    name: str, spec: TensorSpec, schema: schema_pb2.Schema | None, made: Mapping[str, Any]
) -> tf.DType:
    if name in made:
        return made[name].dtype
    if spec.dtype == tf.string:  # read for the model's own preparation
        return tf.string
    types = {feature.name: feature.type for feature in schema.feature} if schema is not None else {}
    dtypes = {schema_pb2.FeatureType.INT: tf.int64, schema_pb2.FeatureType.FLOAT: tf.float32}
    return dtypes.get(types.get(name), tf.float32 if spec.dtype.is_floating else tf.int64)
