"""Masks meet their sparsity exactly; schedules end at their target."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.compression.sparsity import SparsitySchedule, magnitude_mask, read_mask

_WEIGHTS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.float16]),
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
    # Few distinct values: ties in every draw.
    elements=st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
)
_SPARSITY = st.floats(0.0, 0.99)


@given(_WEIGHTS, _SPARSITY)
def test_magnitude_mask_drops_exactly_the_share_of_zeros(weight: np.ndarray, sparsity: float) -> None:
    dropped = int(np.count_nonzero(~magnitude_mask(weight, sparsity)))
    assert dropped == min(int(np.floor(sparsity * weight.size + 0.5)), weight.size - 1)


@given(_WEIGHTS, _SPARSITY)
def test_magnitude_mask_keeps_no_smaller_weight_than_it_drops(weight: np.ndarray, sparsity: float) -> None:
    keep = magnitude_mask(weight, sparsity)
    if not keep.all():
        assert np.abs(weight[keep]).min() >= np.abs(weight[~keep]).max()


def test_magnitude_mask_of_equal_magnitudes_drops_the_first() -> None:
    np.testing.assert_array_equal(magnitude_mask(np.ones(4), 0.25), [False, True, True, True])


def test_read_mask_of_a_dense_weight_is_none() -> None:
    assert read_mask(np.ones((2, 2))) is None
    np.testing.assert_array_equal(read_mask(np.array([0.0, 1.0])), [False, True])


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 40), st.floats(0, 0.9))
def test_schedule_updates_last_at_its_target(begin: int, length: int, frequency: int, target: float) -> None:
    schedule = SparsitySchedule(0.0, target, 3.0, begin, begin + length, frequency)
    updates = [step for step in range(begin + length + 10) if schedule.is_update(step)]
    assert updates[-1] == begin + length
    assert schedule.sparsity(updates[-1]) == target
    assert all(step >= begin for step in updates)


def test_polynomial_schedule_follows_its_formula_and_constant_jumps() -> None:
    polynomial = SparsitySchedule(0.2, 0.8, 3.0, 10, 110, 10)
    assert np.isclose(polynomial.sparsity(10), 0.2)
    assert np.isclose(polynomial.sparsity(60), 0.8 + (0.2 - 0.8) * 0.5**3)
    assert SparsitySchedule(0.2, 0.8, 0.0, 10, 110, 10).sparsity(10) == 0.8
