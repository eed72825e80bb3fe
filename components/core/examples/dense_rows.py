"""Sparse and ragged features as dense arrays of the width that a model takes."""

from __future__ import annotations

import logging
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import record_faults
from tfx_edge.components.core.log_once import log_once
from tfx_edge.components.core.signature import TensorSpec

_LOG = logging.getLogger(__name__)

_FILLED = (
    'feature %r has a variable length, and its input takes %d values: an example that holds fewer is filled up '
    'with 0, as tf.sparse.to_dense does; where 0 means something to the model, fill it in the preprocessing_fn'
)
_GAPS = (
    'feature %r is sparse, with gaps before values, which Transform leaves out in the examples that it writes: a '
    'model that was trained on those saw the values in other places; give it a width in the preprocessing_fn, by '
    'tft.experimental.annotate_sparse_output_shape or tf.sparse.to_dense'
)

Value: TypeAlias = tf.Tensor | tf.SparseTensor | tf.RaggedTensor


def dense_rows(name: str, value: Value, spec: TensorSpec, *, has_width: bool = False) -> np.ndarray:
    """The rows of a feature, each as wide as the input that reads it.

    Missing values are filled with 0 up to the input's width. Keras does the same in a Trainer by `tf.sparse.to_dense`,
    but up to the batch's longest row. The first filled row of a feature is logged, once in a process.

    Args:
      name: of the feature.
      value: its values for a batch.
      spec: of the input.
      has_width: whether a sparse feature declares its width, so that values that are absent mean 0.

    Returns:
      An array of the value's dtype; dense values as they are, others in the shape (batch, ...) of the input.

    Raises:
      EdgeError: an example holds more values than the input takes, or fewer in more than one dimension.

    Example:
      >>> dense_rows('tags', tf.sparse.from_dense([[3, 4], [5, 0]]), TensorSpec((None, 3), tf.int64)).tolist()
      [[3, 4, 0], [5, 0, 0]]
    """
    if isinstance(value, tf.RaggedTensor):
        return _of_ragged(name, value, spec)
    if isinstance(value, tf.SparseTensor):
        return _of_sparse(name, value, spec, has_width)
    return value.numpy()


def values_in_rows(value: Value) -> np.ndarray:
    """How many values each row of a sparse or ragged feature holds."""
    if isinstance(value, tf.RaggedTensor):
        value = value.to_sparse()
    return np.bincount(value.indices.numpy()[:, 0], minlength=int(value.dense_shape[0]))


def padded(value: Value) -> np.ndarray:
    """The rows of an output that no input reads, each as wide as the widest."""
    if isinstance(value, tf.SparseTensor):
        return tf.sparse.to_dense(value).numpy()
    return value.to_tensor().numpy() if isinstance(value, tf.RaggedTensor) else value.numpy()


def full(name: str, value: Value) -> np.ndarray:
    """The rows of a label, which all must have the same width: no input of the model gives one.

    Raises:
      EdgeError: an example holds fewer values than another, or no example holds a value.
    """
    rows = padded(value)
    if isinstance(value, tf.SparseTensor | tf.RaggedTensor):
        held = int(values_in_rows(value).sum())
        if held != rows.size or not held:
            raise EdgeError(
                f'output {name!r} of the transform graph is sparse, and an example does not fill its width; a label '
                'has the same number of values in each. Make it dense in the preprocessing_fn, such as by '
                f'tf.sparse.to_dense(tf.sparse.reset_shape({name}, [tf.shape({name})[0], WIDTH])).'
            )
    return rows


def _of_ragged(name: str, value: tf.RaggedTensor, spec: TensorSpec) -> np.ndarray:
    if value.shape.rank == len(spec.row_shape) + 1:
        return _rows(name, value.to_sparse(), spec.row_shape, spec, False)
    flat = value.merge_dims(1, -1) if value.shape.rank > 2 else value
    return _of_sparse(name, flat.to_sparse(), spec, False)


def _of_sparse(name: str, value: tf.SparseTensor, spec: TensorSpec, has_width: bool) -> np.ndarray:
    dimensions = value.indices.shape[1]
    if dimensions == len(spec.row_shape) + 1:
        return _rows(name, value, spec.row_shape, spec, has_width)
    if dimensions != 2:
        raise record_faults.wrong_shape(name, value.dense_shape.numpy()[1:].tolist(), spec)
    width = int(np.prod(spec.row_shape))
    rows = _rows(name, value, (width,), spec, has_width)
    return rows.reshape((len(rows), *spec.row_shape))


def _rows(
    name: str, value: tf.SparseTensor, shape: tuple[int, ...], spec: TensorSpec, has_width: bool
) -> np.ndarray:
    indices = value.indices.numpy()[:, 1:]
    # Without a declared width, `dense_shape` depends on the batch's longest row or on the graph: the values decide.
    found = value.dense_shape.numpy()[1:] if has_width else indices.max(axis=0, initial=-1) + 1
    if (found > shape).any() or (has_width and (found < shape).any()):
        raise record_faults.wrong_shape(name, found.tolist(), spec)
    held = values_in_rows(value)
    if not has_width and len(shape) == 1 and (indices[:, 0] >= held[value.indices.numpy()[:, 0]]).any():
        log_once(_LOG, logging.WARNING, _GAPS, name)
    if (held < np.prod(shape)).any() and not has_width:
        if len(spec.row_shape) > 1 and len(shape) == 1:
            raise record_faults.wrong_shape(name, (int(held.min()),), spec)
        log_once(_LOG, logging.WARNING, _FILLED, name, int(np.prod(shape)))
    sized = tf.SparseTensor(value.indices, value.values, [len(held), *shape])
    return tf.sparse.to_dense(tf.sparse.reorder(sized)).numpy()
