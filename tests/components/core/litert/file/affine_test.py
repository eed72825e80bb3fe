"""Rounding and clipping between real numbers and a file's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import affine

_DTYPES = st.sampled_from([np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)])
_SCALES = st.floats(2.0**-10, 2.0**4, width=32)
_VALUES = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e9, 1e9, width=32))


@given(_VALUES, _SCALES, _DTYPES, st.floats(0, 1))
def test_quantize_gives_the_nearest_integer_in_range(
    values: np.ndarray, scale: float, dtype: np.dtype, place: float
) -> None:
    limits = np.iinfo(dtype)
    zero_point = int(limits.min + place * (int(limits.max) - int(limits.min)))
    stored = affine.quantize(values, scale, zero_point, dtype)
    assert stored.dtype == dtype
    exact = values.astype(np.float64) / np.float32(scale) + zero_point
    clipped = np.clip(exact, limits.min, limits.max)
    # float32 division may move a value that lies on the middle between two integers.
    assert np.all(np.abs(stored - clipped) <= 0.5 + 1e-6 * np.abs(exact - zero_point))


@given(st.integers(-128, 127), _SCALES, st.integers(-128, 127))
def test_dequantize_is_undone_by_quantize(stored: int, scale: float, zero_point: int) -> None:
    integers = np.array([stored], np.int8)
    real = affine.dequantize(integers, scale, zero_point)
    assert real.dtype == np.float32
    assert affine.quantize(real, scale, zero_point, np.dtype(np.int8)) == integers


def test_dequantize_does_not_overflow_int8() -> None:
    np.testing.assert_array_equal(affine.dequantize(np.array([127], np.int8), 0.5, -128), [127.5])


def test_quantize_clips_infinities() -> None:
    stored = affine.quantize(np.array([-np.inf, np.inf], np.float32), 0.1, 3, np.dtype(np.int8))
    np.testing.assert_array_equal(stored, [-128, 127])


def test_quantize_refuses_nan() -> None:
    with pytest.raises(EdgeError, match='NaN'):
        affine.quantize(np.array([np.nan], np.float32), 0.1, 0, np.dtype(np.int8))
