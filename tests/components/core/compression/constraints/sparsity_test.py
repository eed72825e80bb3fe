"""Masks meet their sparsity exactly; schedules end at their target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.compression.constraints.sparsity import SparsitySchedule, mask, masks, read_mask

_DTYPES = st.sampled_from([np.float32, np.float64, np.float16])
_SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)
# Few distinct values: ties in every draw.
_VALUES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])
_SCORES = hnp.arrays(_DTYPES, _SHAPES, elements=_VALUES)
_SPARSITY = st.floats(0.0, 0.99)


def _ordered(scores: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """All scores, and their indices from the first one to drop to the last, the kept one of each array left out."""
    flat = np.concatenate([score.ravel().astype(np.float64) for score in scores])
    owner = np.repeat(np.arange(len(scores)), [score.size for score in scores])
    order = sorted(range(flat.size), key=lambda index: (flat[index], index))
    last = {owner[index]: index for index in order}
    return flat, [index for index in order if index not in last.values()]


@settings(max_examples=50)
@given(_SCORES, _SPARSITY)
def test_mask_drops_exactly_the_share_of_the_lowest_scores_the_first_of_equal_ones(
    score: np.ndarray, sparsity: float
) -> None:
    keep = mask(score, sparsity)
    dropped = min(int(np.floor(sparsity * score.size + 0.5)), score.size - 1)
    _, order = _ordered([score])
    assert keep.shape == score.shape
    assert set(np.flatnonzero(~keep.ravel())) == set(order[:dropped])


@settings(max_examples=50)
@given(st.lists(_SCORES, min_size=1, max_size=4), _SPARSITY)
def test_masks_of_several_arrays_share_one_threshold_and_leave_each_array_a_weight(
    scores: list[np.ndarray], sparsity: float
) -> None:
    keeps = masks(scores, sparsity)
    flat, order = _ordered(scores)
    dropped = min(int(np.floor(sparsity * flat.size + 0.5)), len(order))
    found = np.concatenate([keep.ravel() for keep in keeps])
    assert [keep.shape for keep in keeps] == [score.shape for score in scores]
    assert all(keep.any() for keep in keeps)
    assert set(np.flatnonzero(~found)) == set(order[:dropped])


@settings(max_examples=50)
@given(st.lists(_SCORES, min_size=1, max_size=3), st.integers(0, 2**32 - 1), _SPARSITY)
def test_masks_of_scores_of_several_weights_come_as_near_to_the_share_as_they_can(
    scores: list[np.ndarray], seed: int, sparsity: float
) -> None:
    random = np.random.default_rng(seed)
    sizes = [random.integers(1, 9, size=score.shape) for score in scores]
    keeps = masks(scores, sparsity, sizes)
    _, order = _ordered(scores)
    weights = np.concatenate([size.ravel() for size in sizes])
    target = sparsity * weights.sum()
    counts = [int(weights[order[:dropped]].sum()) for dropped in range(len(order) + 1)]
    nearest = max(counts, key=lambda count: (-abs(count - target), count))
    found = np.concatenate([keep.ravel() for keep in keeps])
    assert set(np.flatnonzero(~found)) == set(order[: counts.index(nearest)])


@pytest.mark.parametrize('sparsity', [0.25, 0.5, 0.75])
def test_mask_of_equal_scores_drops_the_first(sparsity: float) -> None:
    np.testing.assert_array_equal(mask(np.ones(4), sparsity), np.arange(4) >= 4 * sparsity)


def test_masks_leave_the_scores_as_they_are() -> None:
    scores = [np.arange(4.0), np.arange(3.0)]
    masks(scores, 0.5)
    np.testing.assert_array_equal(scores[0], np.arange(4.0))
    np.testing.assert_array_equal(scores[1], np.arange(3.0))


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
