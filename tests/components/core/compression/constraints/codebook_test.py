"""Codebooks: which members are chosen, and which are read off a weight."""

from __future__ import annotations

import numpy as np
import pytest

from tfx_edge.components.core.compression.constraints.centroid_initialization import place_centroids
from tfx_edge.components.core.compression.constraints.codebook import (
    Codebook,
    make_codebook,
    read_codebook,
    used_members,
    with_zero,
)
from tfx_edge.components.core.compression.constraints.codebook_limits import GRANULARITIES, INITIALIZATIONS


def _squared_error(points: np.ndarray, centroids: np.ndarray) -> float:
    return float(np.square(points[:, None] - centroids[None, :]).min(1).mean())


@pytest.mark.parametrize('initialization', INITIALIZATIONS)
def test_lloyd_steps_come_near_the_best_three_of_three_groups(initialization: str) -> None:
    random = np.random.default_rng(0)
    points = np.sort(np.concatenate([random.normal(c, 0.05, 300) for c in (-2.0, 0.5, 3.0)]))
    placed = place_centroids(
        points, np.ones(points.size), np.array([]), 3, initialization, np.random.default_rng(1)
    )
    np.testing.assert_allclose(placed, [-2.0, 0.5, 3.0], atol=0.02)


@pytest.mark.parametrize('initialization', INITIALIZATIONS)
def test_pinned_centroids_stay_and_the_others_leave_room_for_them(initialization: str) -> None:
    points = np.sort(np.random.default_rng(0).normal(size=2000))
    pinned = np.array([-4.0, 0.0, 4.0])
    free = place_centroids(points, np.ones(points.size), pinned, 5, initialization, np.random.default_rng(1))
    assert free.size == 5
    assert np.array_equal(free, np.sort(free))
    together = np.concatenate([pinned, free])
    evenly = np.linspace(-4, 4, 8)
    assert _squared_error(points, together) < _squared_error(points, evenly)


def test_mass_pulls_centroids() -> None:
    points, mass = np.array([0.0, 1.0, 10.0]), np.array([1.0, 3.0, 1.0])
    placed = place_centroids(points, mass, np.array([]), 2, 'LINEAR', np.random.default_rng(0))
    np.testing.assert_allclose(placed, [0.75, 10.0])


def test_few_distinct_values_are_their_own_codebook() -> None:
    weight = np.repeat(np.array([0.3, -0.7, 0.1], np.float32), 10).reshape(6, 5)
    made = make_codebook(weight, None, (1,), 16, np.random.default_rng(0), granularity='TENSOR')
    np.testing.assert_array_equal(np.unique(made.members), np.unique(weight))


@pytest.mark.parametrize('granularity', GRANULARITIES)
def test_the_same_seed_gives_the_same_members(granularity: str) -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 32)).astype(np.float32)

    def members(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        return make_codebook(kernel, None, (3,), 8, random, granularity=granularity).members

    np.testing.assert_array_equal(members(5), members(5))


def test_members_of_a_channel_fit_that_channel() -> None:
    random = np.random.default_rng(0)
    weight = (random.normal(size=(64, 3)) * [0.01, 1.0, 100.0]).astype(np.float32)
    made = make_codebook(weight, None, (1,), 4, np.random.default_rng(0), granularity='CHANNEL')
    assert made.members.shape == (3, 4)
    for row, column in zip(made.members, weight.T, strict=True):
        assert column.min() <= row[0] <= row[-1] <= column.max()


@pytest.mark.parametrize('granularity', ['DEPLOYED', 'TENSOR', 'CHANNEL'])
def test_a_kept_zero_is_a_member_that_kept_weights_do_not_take(granularity: str) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(64, 8)).astype(np.float32)
    keep = random.random(weight.shape) > 0.5
    made = make_codebook(weight, keep, (1,), 5, np.random.default_rng(0), granularity=granularity)
    assert all(0 in row for row in made.members)
    assert (used_members(made, masked=True) != 0).all()


def test_with_zero_keeps_the_number_of_members() -> None:
    made = Codebook(np.array([[-127, -40, 10, 90, 127]]))
    np.testing.assert_array_equal(with_zero(made).members, [[-127, -40, 0, 90, 127]])
    np.testing.assert_array_equal(with_zero(with_zero(made)).members, with_zero(made).members)
    floats = Codebook(np.array([[-1.0, 0.2], [3.0, 4.0]], np.float32), 'CHANNEL')
    np.testing.assert_array_equal(with_zero(floats).members, [[-1.0, 0.0], [0.0, 4.0]])


def test_the_reading_with_the_fewest_members_counts() -> None:
    random = np.random.default_rng(0)
    shared = random.choice(np.array([-0.5, 0.1, 0.4, 0.9], np.float32), (64, 8))
    found = read_codebook(shared, shared, (1,))
    assert found is not None
    assert (found.granularity, found.size) == ('TENSOR', 4)
    scaled = (random.choice([-127, -30, 40, 127], (64, 8)) * np.exp(random.normal(size=8)) / 127).astype('f4')
    found = read_codebook(scaled, scaled, (1,))
    assert found is not None
    assert (found.granularity, found.members.tolist()) == ('DEPLOYED', [[-127, -30, 40, 127]])
    own = np.stack([random.choice(random.normal(size=4), 64) for _ in range(8)], 1).astype(np.float32)
    found = read_codebook(own, own, (1,))
    assert found is not None
    assert found.size == 4
