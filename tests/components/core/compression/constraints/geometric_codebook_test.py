"""Geometric codebooks: few integers whatever a kernel is divided by, and a weight shows its own."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tfx_edge.components.core.compression.constraints.codebook import make_codebook
from tfx_edge.components.core.compression.constraints.geometric_codebook import (
    make_geometric_codebook,
    read_geometric_codebook,
)


def _weight(seed: int, rows: int = 24, columns: int = 12) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(rows, columns)) * random.uniform(0.2, 2, (rows, 1))).astype(np.float32)


def _nearest(weight: np.ndarray, members: np.ndarray) -> np.ndarray:
    cuts = (members[1:] + members[:-1]) / 2
    return members[np.searchsorted(cuts, weight)]


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(
    seed=strategies.integers(0, 10**6),
    clusters=strategies.integers(3, 32),
    axis=strategies.sampled_from([0, 1, None]),
)
def test_integers_are_few_along_any_axis(seed: int, clusters: int, axis: int | None) -> None:
    weight = _weight(seed)
    members = make_geometric_codebook(weight, None, clusters).members.ravel()
    assert len(members) <= clusters
    np.testing.assert_array_equal(members, -members[::-1])
    clustered = _nearest(weight, members)
    largest = np.abs(clustered).max(axis=axis, keepdims=True)
    integers = np.rint(clustered / np.where(largest > 0, largest, 1) * 127)
    assert len(np.unique(integers)) <= clusters


@pytest.mark.parametrize('clusters', [5, 8, 16, 32])
def test_what_was_clustered_is_read_again(clusters: int) -> None:
    weight = _weight(0)
    made = make_geometric_codebook(weight, None, clusters)
    clustered = _nearest(weight, made.members.ravel()).astype(np.float32)
    read = read_geometric_codebook(clustered)
    assert read is not None
    assert read.granularity == 'GEOMETRIC'
    assert read.size <= clusters
    assert set(np.unique(clustered)) <= set(read.members.ravel())


def test_zeros_that_are_kept_are_a_member() -> None:
    weight = _weight(1)
    keep = np.abs(weight) > 0.5
    members = make_geometric_codebook(weight * keep, keep, 8).members.ravel()
    assert 0 in members
    assert len(members) == 7


def test_other_values_are_no_geometric_codebook() -> None:
    even = np.repeat(np.array([[-3, -2, -1, 1, 2, 3]], np.float32), 4, 0)
    assert read_geometric_codebook(even) is None
    assert read_geometric_codebook(_weight(2)) is None
    assert read_geometric_codebook(np.zeros((4, 4), np.float32)) is None


def test_little_is_lost_beside_free_members() -> None:
    """A decibel or two: what the table gains is that both of its kernels have so few integers."""
    weight = _weight(3, 200, 32)
    free = make_codebook(weight, None, (), 16, np.random.default_rng(0), granularity='TENSOR')
    errors = [
        float(np.square(_nearest(weight, codebook.members.ravel()) - weight).mean())
        for codebook in (free, make_geometric_codebook(weight, None, 16))
    ]
    assert errors[1] < 1.6 * errors[0]
