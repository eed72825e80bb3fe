"""Which examples a schema describes: raw ones, or what a transform graph made of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.examples.example_stage import RAW, TRANSFORMED, Origin
from tfx_edge.components.core.signature import TensorSpec

_TYPES = {
    schema_pb2.FeatureType.INT: tf.int64,
    schema_pb2.FeatureType.FLOAT: tf.float32,
    schema_pb2.FeatureType.BYTES: tf.string,
}


def stage_of_schema(
    schema: schema_pb2.Schema,
    inputs: Mapping[str, TensorSpec],
    raw_features: Mapping[str, object],
    made_features: Mapping[str, object],
) -> Origin:
    """Finds by names, types and fixed shapes whether a schema fits raw or transformed examples.

    Args:
      schema: of the examples.
      inputs: of the model, by name.
      raw_features: TensorFlow's feature spec of what the transform graph takes, by name.
      made_features: the same of what it makes, whose types may differ from those of the inputs.

    Returns:
      RAW or TRANSFORMED where it fits one of them; nothing where it fits both or neither.
    """
    features = {feature.name: feature for feature in schema.feature}
    holds_inputs = all(
        name in features
        and _fits(
            features[name],
            getattr(made_features.get(name), 'dtype', None) or _stored(spec.dtype),
            spec.row_shape,
        )
        for name, spec in inputs.items()
    )
    holds_raw = all(
        name in features
        and _fits(features[name], getattr(feature, 'dtype', None), getattr(feature, 'shape', None))
        for name, feature in raw_features.items()
    )
    if holds_inputs == holds_raw:
        return Origin()
    if holds_raw:
        return Origin(RAW, 'the schema describes the raw features')
    return Origin(
        TRANSFORMED, 'the schema describes what the transform graph makes, and not the raw features'
    )


def _stored(dtype: tf.DType) -> tf.DType:
    return tf.float32 if dtype.is_floating else tf.int64


def _fits(feature: schema_pb2.Feature, dtype: tf.DType | None, shape: tuple[int, ...] | None) -> bool:
    if feature.type in _TYPES and dtype is not None and _TYPES[feature.type] != dtype:
        return False
    if shape is None or not feature.HasField('shape'):
        return True
    return int(np.prod([dim.size for dim in feature.shape.dim])) == int(np.prod(tuple(shape)))
