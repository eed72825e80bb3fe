"""The defaults that a schema gives to features which examples may leave out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError

# The group that TensorFlow Transform and TFX read.
_GROUP = ''
_HELD_BY = {
    'float_value': tf.float32,
    'int_value': tf.int64,
    'uint_value': tf.int64,
    'bytes_value': tf.string,
}


def default_of(
    schema: schema_pb2.Schema | None, name: str, shape: tuple[int, ...], dtype: tf.DType
) -> np.ndarray | None:
    """The value of a feature that an example leaves out.

    It is the default of the feature's dense tensor representation in the schema, whatever the presence there.

    Args:
      schema: of the examples as stored, or None.
      name: of the feature.
      shape: of its values in one example.
      dtype: as it is parsed: float32, int64 or string.

    Returns:
      The default in that shape, or None where there is none.

    Raises:
      EdgeError: the default is of another type.

    Example:
      >>> default_of(schema, 'age', (1,), tf.float32)
      array([7.5], dtype=float32)
    """
    if schema is None or _GROUP not in schema.tensor_representation_group:
        return None
    representations = schema.tensor_representation_group[_GROUP].tensor_representation
    if name not in representations:
        return None
    dense = representations[name].dense_tensor
    kind = dense.default_value.WhichOneof('kind')
    if kind is None or dense.column_name not in ('', name):
        return None
    if _HELD_BY[kind] != dtype:
        raise EdgeError(
            f'the schema gives feature {name!r} the default {kind}, but the model takes {dtype.name} there; '
            'correct the default in its tensor_representation_group.'
        )
    return np.full(shape, getattr(dense.default_value, kind), dtype.as_numpy_dtype)
