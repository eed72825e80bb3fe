"""Projections: what holds for every weight."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.constraints import codebook, codebook_limits, integer_grid
from tfx_edge.components.core.compression.constraints.codebook import Codebook, make_codebook
from tfx_edge.components.core.compression.constraints.constraints import Constraint, project, read_constraint

_SHAPES = [
    ((3, 3, 4, 8), (3,)),
    ((3, 3, 8, 2), (2, 3)),
    ((3, 3, 8, 4), (2,)),
    ((32, 10), (1,)),
    ((10, 32), (0,)),
    ((1, 1, 16, 3), (3,)),
    ((40, 6), ()),
]
_GRANULARITIES = st.sampled_from(codebook_limits.GRANULARITIES)
_DRAWS = st.tuples(st.integers(0, 10_000), st.integers(0, len(_SHAPES) - 1), st.sampled_from([0.0, 0.5, 0.9]))


def _draw(seed: int, which: int, sparsity: float) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...]]:
    shape, axes = _SHAPES[which]
    random = np.random.default_rng(seed)
    kernel = (random.normal(size=shape) * np.exp(random.normal(size=shape[-1]))).astype(np.float32)
    keep = random.random(shape) >= sparsity if sparsity else None
    return kernel, keep, axes


def _project(
    kernel: np.ndarray, constraint: Constraint, axes: tuple[int, ...], scale: np.ndarray | None = None
) -> np.ndarray:
    keep = None if constraint.keep is None else tf.constant(constraint.keep.astype(np.float32))
    factor = None if scale is None else tf.constant(scale)
    return project(tf.constant(kernel), constraint, keep, axes, scale=factor).numpy()


def _channel_scale(seed: int, kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """As batch norm folds: of either sign, far apart in size."""
    random = np.random.default_rng(seed)
    shape = [size if axis in axes else 1 for axis, size in enumerate(kernel.shape)]
    return (random.normal(size=shape) * np.exp(3 * random.normal(size=shape))).astype(np.float32)


def _most_distinct(projected: np.ndarray, granularity: str, axes: tuple[int, ...]) -> int:
    if granularity == 'DEPLOYED':
        integers = integer_grid.to_integers(projected, axes)
        assert integers is not None
        return np.unique(integers).size
    rows = codebook.groups(projected, axes if granularity == 'CHANNEL' else ())
    return max(np.unique(row).size for row in rows)


@settings(deadline=None, max_examples=100)
@given(_DRAWS, st.integers(3, 32), _GRANULARITIES, st.sampled_from(['KMEANS_PLUS_PLUS', 'LINEAR', 'DENSITY']))
def test_a_codebook_leaves_at_most_k_values_and_the_zeros(
    draw: tuple[int, int, float], clusters: int, granularity: str, initialization: str
) -> None:
    kernel, keep, axes = _draw(*draw)
    made = make_codebook(
        kernel,
        keep,
        axes,
        clusters,
        np.random.default_rng(0),
        granularity=granularity,
        initialization=initialization,
    )
    assert made.size <= clusters
    projected = _project(kernel, Constraint(keep, made), axes)
    assert _most_distinct(projected, granularity, axes) <= clusters
    if keep is not None:
        np.testing.assert_array_equal(projected != 0, keep)


@settings(deadline=None, max_examples=100)
@given(_DRAWS, _GRANULARITIES, st.sampled_from([0, 4, 8]), st.booleans())
def test_projection_is_idempotent(
    draw: tuple[int, int, float], granularity: str, grid: int, folded: bool
) -> None:
    kernel, keep, axes = _draw(*draw)
    scale = _channel_scale(draw[0], kernel, axes) if folded else None
    source = kernel * scale if folded and granularity == 'DEPLOYED' else kernel
    made = make_codebook(source, keep, axes, 16, np.random.default_rng(0), granularity=granularity)
    if grid and granularity == 'TENSOR':
        made = None  # channels round a tensor's members each to its own integers
    constraint = Constraint(keep, made, grid=grid)
    once = _project(kernel, constraint, axes, scale)
    if grid and granularity == 'CHANNEL':
        # Rounding moves members, one of them to 0 maybe; what was rounded says what they became.
        kernel = once if scale is None else once * scale
        constraint = dataclasses.replace(read_constraint(kernel, axes, weight=once), grid=grid)
    np.testing.assert_array_equal(_project(once, constraint, axes, scale), once)


@settings(deadline=None, max_examples=60)
@given(_DRAWS)
def test_grid_projection_is_the_nearest_integer_of_the_quantizer(draw: tuple[int, int, float]) -> None:
    kernel, keep, axes = _draw(*draw)
    projected = _project(kernel, Constraint(keep, None, grid=8), axes)
    masked = kernel if keep is None else kernel * keep
    others = tuple(a for a in range(kernel.ndim) if a not in axes)
    step = np.abs(masked).max(others, keepdims=True) / 127
    assert (np.abs(projected - masked) <= step * 0.5001).all()
    assert integer_grid.to_integers(projected, axes) is not None


@settings(deadline=None, max_examples=60)
@given(_DRAWS)
def test_folding_changes_the_integers_by_the_sign_of_its_channel_only(draw: tuple[int, int, float]) -> None:
    kernel, keep, axes = _draw(*draw)
    scale = _channel_scale(draw[0] + 1, kernel, axes)
    made = make_codebook(kernel * scale, keep, axes, 16, np.random.default_rng(0))
    projected = _project(kernel, Constraint(keep, made), axes, scale)
    integers = integer_grid.to_integers((projected * scale).astype(np.float32), axes)
    assert integers is not None
    assert set(np.unique(integers)) <= set(made.members.ravel().tolist()) | {0}


@settings(deadline=None, max_examples=60)
@given(_DRAWS, _GRANULARITIES)
def test_a_constraint_is_read_off_a_weight_that_satisfies_it(
    draw: tuple[int, int, float], granularity: str
) -> None:
    kernel, keep, axes = _draw(*draw)
    made = make_codebook(kernel, keep, axes, 4, np.random.default_rng(0), granularity=granularity)
    projected = _project(kernel, Constraint(keep, made), axes)
    # A group with fewer than two weights to each member is not taken for a clustered one.
    rows = codebook.groups(projected, axes if granularity == 'CHANNEL' else ())
    assume(2 * sum(np.unique(row[row != 0]).size for row in rows) <= np.count_nonzero(projected))
    found = read_constraint(projected, axes)
    assert found.codebook is not None
    assert found.codebook.size <= 4
    np.testing.assert_array_equal(_project(projected, found, axes), projected)
    assert (found.keep is None) == bool((projected != 0).all())


def test_read_constraint_of_a_dense_weight_is_empty() -> None:
    kernel = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    found = read_constraint(kernel, (1,))
    assert found.keep is None
    assert found.codebook is None


def test_an_eight_bit_weight_is_not_taken_for_a_clustered_one() -> None:
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert read_constraint(_project(kernel, Constraint(grid=8), (1,)), (1,)).codebook is None


def test_a_channel_of_zeros_stays_zero_and_costs_a_member() -> None:
    kernel = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    kernel[:, 1] = 0
    made = make_codebook(kernel, None, (1,), 4, np.random.default_rng(0))
    assert 0 in made.members
    projected = _project(kernel, Constraint(None, made), (1,))
    assert not projected[:, 1].any()
    assert np.isfinite(projected).all()


def test_gradients_pass_to_the_weights_and_add_up_in_the_members() -> None:
    weight = tf.constant([[0.9], [0.1], [-1.1], [1.2]])
    members = tf.constant([[-1.0, 0.0, 1.0]])
    constraint = Constraint(None, Codebook(members.numpy(), 'TENSOR'))
    upstream = tf.constant([[1.0], [2.0], [4.0], [8.0]])
    with tf.GradientTape() as tape:
        tape.watch([weight, members])
        projected = project(weight, constraint, None, (1,), members=members)
    np.testing.assert_array_equal(projected, [[1.0], [0.0], [-1.0], [1.0]])
    by_weight, by_member = tape.gradient(projected, [weight, members], upstream)
    np.testing.assert_array_equal(by_weight, upstream)
    np.testing.assert_array_equal(by_member, [[4.0, 2.0, 9.0]])


@pytest.mark.parametrize('granularity', ['TENSOR', 'CHANNEL'])
def test_clusters_of_floats_stay_few_integers_in_each_channel(granularity: str) -> None:
    kernel, _, axes = _draw(0, 0, 0.0)
    made = make_codebook(kernel, None, axes, 8, np.random.default_rng(0), granularity=granularity)
    projected = _project(kernel, Constraint(None, made, grid=8), axes)
    integers = integer_grid.to_integers(projected, axes)
    assert integers is not None
    assert all(np.unique(row).size <= 8 for row in codebook.groups(integers, axes))
