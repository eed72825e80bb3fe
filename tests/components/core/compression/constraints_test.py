"""Projections: what holds for every weight."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression import codebook, integer_grid
from tfx_edge.components.core.compression.constraints import Constraint, project, read_constraint

_SHAPES = [
    ((3, 3, 4, 8), (3,)),
    ((3, 3, 8, 2), (2, 3)),
    ((32, 10), (1,)),
    ((10, 32), (0,)),
    ((1, 1, 16, 3), (3,)),
]


def _draw(seed: int, which: int, sparsity: float) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...]]:
    shape, axes = _SHAPES[which]
    random = np.random.default_rng(seed)
    kernel = (random.normal(size=shape) * np.exp(random.normal(size=shape[-1]))).astype(np.float32)
    keep = random.random(shape) >= sparsity if sparsity else None
    return kernel, keep, axes


def _project(kernel: np.ndarray, constraint: Constraint, axes: tuple[int, ...]) -> np.ndarray:
    keep = None if constraint.keep is None else tf.constant(constraint.keep.astype(np.float32))
    return project(tf.constant(kernel), constraint, keep, axes).numpy()


_DRAWS = st.tuples(st.integers(0, 10_000), st.integers(0, len(_SHAPES) - 1), st.sampled_from([0.0, 0.5, 0.9]))


@settings(deadline=None, max_examples=60)
@given(_DRAWS, st.integers(codebook.MIN_CLUSTERS, 32))
def test_codebook_projection_holds_clusters_and_zeros(draw: tuple[int, int, float], clusters: int) -> None:
    kernel, keep, axes = _draw(*draw)
    members = codebook.deployed_codebook(kernel, keep, axes, clusters, np.random.default_rng(0))
    assert members.size <= clusters
    assert {-127, 127} <= set(members.tolist())
    projected = _project(kernel, Constraint(keep, members), axes)
    integers = integer_grid.to_integers(projected, axes)
    assert integers is not None
    assert set(np.unique(integers)) <= set(members.tolist()) | {0}
    if keep is not None:
        np.testing.assert_array_equal(projected != 0, keep)


@settings(deadline=None, max_examples=60)
@given(_DRAWS, st.booleans())
def test_projection_is_idempotent(draw: tuple[int, int, float], clustered: bool) -> None:
    kernel, keep, axes = _draw(*draw)
    members = (
        codebook.deployed_codebook(kernel, keep, axes, 16, np.random.default_rng(0)) if clustered else None
    )
    constraint = Constraint(keep, members, grid=not clustered)
    once = _project(kernel, constraint, axes)
    np.testing.assert_array_equal(_project(once, constraint, axes), once)


@settings(deadline=None, max_examples=60)
@given(_DRAWS)
def test_grid_projection_is_the_nearest_integer_of_the_quantizer(draw: tuple[int, int, float]) -> None:
    kernel, keep, axes = _draw(*draw)
    projected = _project(kernel, Constraint(keep, None, grid=True), axes)
    masked = kernel if keep is None else kernel * keep
    others = tuple(a for a in range(kernel.ndim) if a not in axes)
    step = np.abs(masked).max(others, keepdims=True) / 127
    assert (np.abs(projected - masked) <= step * 0.5001).all()
    assert integer_grid.to_integers(projected, axes) is not None


@settings(deadline=None, max_examples=40)
@given(_DRAWS)
def test_a_constraint_is_read_off_a_weight_that_satisfies_it(draw: tuple[int, int, float]) -> None:
    kernel, keep, axes = _draw(*draw)
    members = codebook.deployed_codebook(kernel, keep, axes, 8, np.random.default_rng(0))
    projected = _project(kernel, Constraint(keep, members), axes)
    assume(np.unique(np.rint(projected)).size <= projected.size // 2)
    found = read_constraint(projected, axes)
    assert found.codebook is not None
    assert set(found.codebook.tolist()) <= set(members.tolist()) | {0}
    assert (found.keep is None) == (keep is None or bool(keep.all())) or 0 in members


def test_read_constraint_of_a_dense_weight_is_empty() -> None:
    kernel = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    found = read_constraint(kernel, (1,))
    assert found.keep is None
    assert found.codebook is None


def test_an_eight_bit_weight_is_not_taken_for_a_clustered_one() -> None:
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert read_constraint(_project(kernel, Constraint(grid=True), (1,)), (1,)).codebook is None


def test_a_channel_of_zeros_stays_zero_and_costs_a_member() -> None:
    kernel = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    kernel[:, 1] = 0
    members = codebook.deployed_codebook(kernel, None, (1,), 4, np.random.default_rng(0))
    assert 0 in members
    projected = _project(kernel, Constraint(None, members), (1,))
    assert not projected[:, 1].any()
    assert np.isfinite(projected).all()


def test_with_zero_keeps_the_number_of_members() -> None:
    members = np.array([-127, -40, 10, 90, 127])
    np.testing.assert_array_equal(codebook.with_zero(members), [-127, -40, 0, 90, 127])
    np.testing.assert_array_equal(
        codebook.with_zero(codebook.with_zero(members)), codebook.with_zero(members)
    )


def test_codebook_is_the_same_for_the_same_seed_and_nearer_than_a_linear_one() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 32)).astype(np.float32)
    members = codebook.deployed_codebook(kernel, None, (3,), 8, np.random.default_rng(5))
    again = codebook.deployed_codebook(kernel, None, (3,), 8, np.random.default_rng(5))
    np.testing.assert_array_equal(members, again)
    linear = np.rint(np.linspace(-127, 127, 8)).astype(np.int64)
    errors = [
        np.square(_project(kernel, Constraint(None, m), (3,)) - kernel).mean() for m in (members, linear)
    ]
    assert errors[0] < errors[1]
