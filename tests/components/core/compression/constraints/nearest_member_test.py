"""The nearest member: equal to the plain definition for every shape, size and grouping."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.constraints.nearest_member import nearest_member

_SHAPES = [
    ((7,), ()),
    ((3, 3, 4, 8), (3,)),
    ((3, 3, 8, 2), (2, 3)),
    ((5, 40), (0,)),
    ((5, 40), ()),
    ((2, 3000), (1,)),
]


def _by_definition(values: np.ndarray, members: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Nearest members, the lower one at equal distance, and how often each place was taken."""
    rows = np.moveaxis(values, axes, range(len(axes)))
    flat = rows.reshape(len(members), -1)
    places = np.abs(flat[:, :, None] - members[:, None, :]).argmin(-1)
    counts = np.stack([np.bincount(row, minlength=members.shape[1]) for row in places])
    chosen = np.take_along_axis(members, places, 1).reshape(rows.shape)
    return np.moveaxis(chosen, range(len(axes)), axes), counts


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.sampled_from(_SHAPES), st.sampled_from([1, 2, 5, 32, 64]))
def test_every_value_takes_the_nearest_member_of_its_group(
    seed: int, shape_and_axes: tuple[tuple[int, ...], tuple[int, ...]], size: int
) -> None:
    shape, axes = shape_and_axes
    random = np.random.default_rng(seed)
    count = int(np.prod([shape[axis] for axis in axes], dtype=int))
    # Multiples of 1/4 make ties, and exact midpoints.
    values = (random.integers(-40, 40, shape) / 4).astype(np.float32)
    members = np.sort(random.choice(np.arange(-60, 60), (count, size)) / 2, 1).astype(np.float32)

    @tf.function
    def run() -> tuple[tf.Tensor, tf.Tensor]:
        trained = tf.constant(members)
        chosen = nearest_member(tf.constant(values), trained, axes)
        return chosen, tf.gradients(chosen, trained, tf.ones_like(chosen))[0]

    chosen, gradient = run()
    expected, counts = _by_definition(values, members, axes)
    np.testing.assert_array_equal(chosen, expected)
    # Repeated members share what they were taken for; add it up by value.
    for row, got, wanted in zip(members, gradient.numpy(), counts, strict=True):
        for value in np.unique(row):
            assert got[row == value].sum() == wanted[row == value].sum()
