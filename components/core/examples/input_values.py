"""Converts a feature's values to the type and shape of the input that reads it, without changing the numbers."""

from __future__ import annotations

import logging

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import record_faults
from tfx_edge.components.core.log_once import log_once
from tfx_edge.components.core.signature import TensorSpec

_LOG = logging.getLogger(__name__)

_CONVERTED = 'feature %r holds %s, and its input takes %s: the same numbers are taken'
_ROUNDED = (
    'feature %r holds integers that %s does not hold exactly: they are rounded to the nearest, as Keras rounds '
    'them for a Trainer; examples that differ by less look alike to the model'
)


def as_input(name: str, values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Converts a batch of a feature's values.

    tf.Examples and Transform hold numbers as float32 or int64 only, so values for other input types are converted.
    Keras casts whatever a Trainer feeds it; here only rounding to the nearest number of a floating type may change a
    number. The rounding of integers is logged, once in a step.

    Args:
      name: of the feature and its input.
      values: an array of shape (batch, ...): float32, int64 or other numbers.
      spec: of the input.

    Returns:
      An array of shape (batch, ...) in the input's dtype.

    Raises:
      EdgeError: the values are no numbers, or do not fit the type, or are not as many as the shape has.

    Example:
      >>> as_input('age', np.array([[3], [4]]), TensorSpec((None,), tf.float32))
      array([3., 4.], dtype=float32)
    """
    if values.dtype.kind not in 'fiub':
        raise record_faults.wrong_type(
            name, 'bytes_list' if values.dtype == object else values.dtype.name, spec
        )
    if values.shape[1:] != spec.row_shape:
        if np.prod(values.shape[1:]) != np.prod(spec.row_shape):
            raise record_faults.wrong_shape(name, values.shape[1:], spec)
        values = values.reshape((len(values), *spec.row_shape))
    if spec.dtype.is_floating:
        return _as_floats(name, values, spec)
    return _as_integers(name, values, spec)


def _as_floats(name: str, values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    if values.dtype.kind == 'f' and spec.dtype.size >= values.dtype.itemsize:
        return values.astype(spec.dtype.as_numpy_dtype)
    with np.errstate(over='ignore'):
        cast = values.astype(spec.dtype.as_numpy_dtype)
    back = cast.astype(np.float64)
    if not np.isfinite(back[np.isfinite(values)]).all():
        raise EdgeError(
            f'feature {name!r} holds numbers that do not fit input {name!r} of type {spec.dtype.name}; expected '
            f'at most {spec.dtype.max}. Scale them, or export the model with float32 inputs.'
        )
    if values.dtype.kind != 'f':
        log_once(_LOG, logging.INFO, _CONVERTED, name, 'integers', spec.dtype.name)
        with np.errstate(invalid='ignore'):
            same = np.array_equal(back.astype(values.dtype), values)
        if not same:
            log_once(_LOG, logging.WARNING, _ROUNDED, name, spec.dtype.name)
    return cast


def _as_integers(name: str, values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    wanted = np.dtype(spec.dtype.as_numpy_dtype)
    with np.errstate(invalid='ignore'):
        cast = values.astype(wanted)
        same = np.array_equal(cast.astype(values.dtype), values)
    if values.dtype.kind == 'f':
        if not same or (np.abs(values) >= 2.0**63).any():
            raise record_faults.wrong_type(
                name, 'float_list with fractions or numbers beyond its range', spec
            )
        log_once(_LOG, logging.INFO, _CONVERTED, name, 'floating numbers', spec.dtype.name)
        return cast
    negative = wanted.kind == 'u' and (values < 0).any()
    if not same or negative:
        raise EdgeError(
            f'feature {name!r} holds integers that do not fit input {name!r} of type {spec.dtype.name}; '
            'expected values within its range. Correct the examples.'
        )
    return cast
