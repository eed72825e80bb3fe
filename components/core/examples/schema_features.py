"""Features that a schema lets vary in length: how they are parsed, and how many values it demands of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError

# The group that TensorFlow Transform and TFX read.
_GROUP = ''


@dataclasses.dataclass(frozen=True)
class VariableFeature:
    """A feature whose number of values may vary between examples.

    Attributes:
      parsed_as: a VarLenFeature, SparseFeature or RaggedFeature of TensorFlow.
      required: every example holds it.
      least: how many values an example that holds it has at least.
    """

    parsed_as: object
    required: bool = False
    least: int = 0


def variable_features(schema: schema_pb2.Schema | None, names: frozenset[str]) -> dict[str, VariableFeature]:
    """What a schema says of features that it gives no fixed shape.

    They are read as TensorFlow Transform and a Trainer's `tf_dataset_factory` read them.

    Args:
      schema: of the examples as stored, or None.
      names: of the features that are asked for.

    Returns:
      Those of the names that vary in length, by name.

    Raises:
      EdgeError: the schema contradicts itself there.

    Example:
      >>> variable_features(schema, frozenset({'age', 'tags'}))
      {'tags': VariableFeature(parsed_as=VarLenFeature(dtype=tf.int64), required=False, least=0)}
    """
    found = sorted(name for name in names if schema is not None and _varies(schema, name))
    if schema is None or not found:
        return {}
    specs = _feature_specs(schema)
    by_name = {feature.name: feature for feature in schema.feature}
    return {
        name: _variable(specs[name], by_name.get(_value_column(name, specs[name])))
        for name in found
        # A deprecated feature has no spec.
        if name in specs and not isinstance(specs[name], tf.io.FixedLenFeature)
    }


def _varies(schema: schema_pb2.Schema, name: str) -> bool:
    if _GROUP in schema.tensor_representation_group:
        representations = schema.tensor_representation_group[_GROUP].tensor_representation
        if name in representations:
            return representations[name].WhichOneof('kind') != 'dense_tensor'
    if any(feature.name == name for feature in schema.sparse_feature):
        return True
    return any(
        feature.name == name
        and not feature.HasField('shape')
        and feature.type not in (schema_pb2.FeatureType.STRUCT, schema_pb2.FeatureType.TYPE_UNKNOWN)
        for feature in schema.feature
    )


def _feature_specs(schema: schema_pb2.Schema) -> dict[str, Any]:
    from tensorflow_transform.tf_metadata import schema_utils  # takes seconds, only for such schemas

    readable = schema_pb2.Schema()
    readable.CopyFrom(schema)
    del readable.feature[:]
    for feature in schema.feature:
        if feature.type in (schema_pb2.FeatureType.STRUCT, schema_pb2.FeatureType.TYPE_UNKNOWN):
            continue
        # TensorFlow Transform refuses a schema where a dense feature may be left out; those are not asked for here.
        if feature.HasField('shape') and feature.presence.min_fraction != 1:
            feature = schema_pb2.Feature.FromString(feature.SerializeToString())
            feature.ClearField('shape')
        readable.feature.add().CopyFrom(feature)
    try:
        specs = dict(schema_utils.schema_as_feature_spec(readable).feature_spec)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise EdgeError(
            f'the schema cannot be read ({" ".join(str(error).split())}); correct its features.'
        ) from error
    # A VarLenFeature always has the name of the feature that it reads; a RaggedFeature may have another.
    return specs | {
        name: tf.io.RaggedFeature(specs[name].dtype, column)
        for name, column in _renamed(schema).items()
        if name in specs
    }


def _renamed(schema: schema_pb2.Schema) -> dict[str, str]:
    """The feature that each list is read from, where its name is another."""
    if _GROUP not in schema.tensor_representation_group:
        return {}
    representations = schema.tensor_representation_group[_GROUP].tensor_representation
    columns = {name: found.varlen_sparse_tensor.column_name for name, found in representations.items()}
    return {name: column for name, column in columns.items() if column not in ('', name)}


def _value_column(name: str, feature: object) -> str:
    return getattr(feature, 'value_key', None) or name


def _variable(parsed_as: object, feature: schema_pb2.Feature | None) -> VariableFeature:
    if feature is None:
        return VariableFeature(parsed_as)
    return VariableFeature(parsed_as, feature.presence.min_fraction == 1, feature.value_count.min)
