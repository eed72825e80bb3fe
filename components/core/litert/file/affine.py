"""Real numbers to a file's integers and back: q = round(x / scale) + zero point, clipped."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.errors import EdgeError


def quantize(values: np.ndarray, scale: float, zero_point: int, dtype: np.dtype) -> np.ndarray:
    """Rounds real numbers to the integers of a tensor; what lies outside its range is clipped to it.

    Rounds half to even in float32, as XNNPACK does. (A cast would cut towards zero and wrap around.)

    Args:
      values: real numbers, any shape.
      scale: real size of one step, above 0.
      zero_point: the integer that means 0.
      dtype: an integer type.

    Returns:
      Integers of `dtype`, same shape.

    Raises:
      EdgeError: a value is NaN, which no integer can hold.

    Example:
      >>> quantize(np.array([0.26, 99.0]), 0.1, -128, np.dtype(np.int8))
      array([-125,  127], dtype=int8)
    """
    if np.isnan(values).any():
        raise EdgeError('an input holds NaN, which an integer input cannot; correct the examples.')
    limits = np.iinfo(dtype)
    with np.errstate(over='ignore'):
        steps = np.round(values.astype(np.float32) / np.float32(scale))
    # Clipped before the zero point is added: infinities stay out of integer arithmetic.
    low, high = limits.min - zero_point, limits.max - zero_point
    return (np.clip(steps, low, high).astype(np.int64) + zero_point).astype(dtype)


def dequantize(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """The real numbers that a tensor's integers mean, in float32.

    Args:
      values: integers, any shape.
      scale: real size of one step.
      zero_point: the integer that means 0.

    Returns:
      float32, same shape.

    Example:
      >>> dequantize(np.array([-128, 127], np.int8), 0.5, -128)
      array([  0. , 127.5], dtype=float32)
    """
    # Cast first: int8 minus its zero point overflows int8.
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
