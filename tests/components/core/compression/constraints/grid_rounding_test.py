"""Rounding to the integers of a kernel: equal to the plain definition, as single operations and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.constraints.grid_rounding import round_to_grid, round_to_members

_SHAPES = [((40, 6), ()), ((3, 3, 4, 8), (3,)), ((3, 3, 8, 2), (2, 3)), ((10, 32), (0,))]
# Large enough to be compiled.
_COMPILED = [((300, 120), (1,)), ((300, 120), ())]
_LARGEST = {8: 127, 4: 7}


def _draw(seed: int, shape: tuple[int, ...], axes: tuple[int, ...], bits: int) -> tuple[np.ndarray, ...]:
    """A weight of quarters of its steps, so that there are ties; the size of a step; signs, one of them 0."""
    random = np.random.default_rng(seed)
    limit = _LARGEST[bits]
    of_channels = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    leading = [shape[axis] for axis in axes]
    channels = int(np.prod(leading, dtype=int))
    rows = random.integers(-4 * limit, 4 * limit + 1, (channels, np.prod(shape, dtype=int) // channels))
    rows[np.arange(channels), random.integers(rows.shape[1], size=channels)] = (
        4 * limit
    )  # each channel's largest
    others = [size for axis, size in enumerate(shape) if axis not in axes]
    quarters = np.moveaxis(rows.reshape(leading + others), range(len(axes)), axes)
    sign = random.choice([-1.0, 1.0], of_channels)
    # Powers of two, which keep ties exact.
    step = 2.0 ** random.integers(-6, 2, of_channels)
    if axes:
        sign.ravel()[0] = 0.0
        step.ravel()[1] = 0.0  # a channel of zeros
    return tuple(array.astype(np.float32) for array in (quarters / 4 * step, step, sign))


def _integers(weight: np.ndarray, step: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return weight * sign / np.where(step > 0, step, 1.0)


def _expected(weight: np.ndarray, integers: np.ndarray, step: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.where(sign != 0, integers * step * sign, weight)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.sampled_from(_SHAPES), st.sampled_from([4, 8]))
def test_every_weight_becomes_the_nearest_integer_of_its_channel(
    seed: int, shape_and_axes: tuple[tuple[int, ...], tuple[int, ...]], bits: int
) -> None:
    _check_grid(seed, *shape_and_axes, bits)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.sampled_from(_SHAPES), st.sampled_from([4, 8]), st.integers(1, 12))
def test_every_weight_takes_the_nearest_member_and_gives_it_its_gradient(
    seed: int, shape_and_axes: tuple[tuple[int, ...], tuple[int, ...]], bits: int, size: int
) -> None:
    _check_members(seed, *shape_and_axes, bits, size)


@pytest.mark.parametrize(('shape', 'axes'), _COMPILED)
def test_a_large_weight_is_rounded_in_the_same_way(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    _check_grid(0, shape, axes, 8)
    _check_members(0, shape, axes, 8, 32)


@pytest.mark.parametrize('shape', [(20, 30), (300, 120)])
def test_what_is_rounded_rounds_to_itself_within_a_training_step(shape: tuple[int, ...]) -> None:
    weight = tf.constant(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    members = tf.constant(np.array([[-127, -40, -3, 1, 59, 127]], np.float32))

    @tf.function
    def rounded(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return round_to_grid(weight, (1,), None, 8), round_to_members(weight, members, (1,), None, 8)

    once = rounded(weight)
    np.testing.assert_array_equal(rounded(once[0])[0], once[0])
    np.testing.assert_array_equal(rounded(once[1])[1], once[1])


@pytest.mark.parametrize('shape', [(20, 30), (300, 120)])
def test_nan_is_not_rounded_away(shape: tuple[int, ...]) -> None:
    """It has to show in the loss, which the training loop looks at."""
    members = np.array([[-127, 0, np.nan, 127]], np.float32)
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.isnan(round_to_members(tf.constant(weight), tf.constant(members), (1,), None, 8)).all()
    weight[3, 5] = np.nan
    for rounded in (
        round_to_grid(tf.constant(weight), (1,), None, 8).numpy(),
        round_to_members(tf.constant(weight), tf.constant(members[:, :2]), (1,), None, 8).numpy(),
    ):
        assert np.isnan(rounded[3, 5])
        assert np.isfinite(np.delete(rounded, 5, axis=1)).all()


def test_the_gradient_of_the_grid_passes_to_the_weight() -> None:
    weight = tf.constant(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(weight)
        projected = 3.0 * round_to_grid(weight, (1,), None, 8)
    np.testing.assert_array_equal(tape.gradient(projected, weight), np.full((5, 4), 3.0))


def _check_grid(seed: int, shape: tuple[int, ...], axes: tuple[int, ...], bits: int) -> None:
    weight, step, sign = _draw(seed, shape, axes, bits)
    projected = round_to_grid(tf.constant(weight), axes, tf.constant(sign), bits)
    integers = np.ceil(_integers(weight, step, sign) - 0.5)  # halfway, to the lower one
    np.testing.assert_allclose(projected, _expected(weight, integers, step, sign), rtol=1e-6)


def _check_members(seed: int, shape: tuple[int, ...], axes: tuple[int, ...], bits: int, size: int) -> None:
    weight, step, sign = _draw(seed, shape, axes, bits)
    random = np.random.default_rng(seed + 1)
    limit = _LARGEST[bits]
    # Some are drawn twice: four bits make equal ones of eight.
    members = np.sort(random.choice(np.arange(-limit, limit + 1), size)).astype(np.float32)
    upstream = random.integers(-3, 4, shape).astype(np.float32)

    trained = tf.constant(members[None])
    with tf.GradientTape() as tape:
        tape.watch(trained)
        chosen = round_to_members(tf.constant(weight), trained, axes, tf.constant(sign), bits)
    gradient = tape.gradient(chosen, trained, tf.constant(upstream))
    # The first of two equal distances is the lower member.
    places = np.abs(_integers(weight, step, sign)[..., None] - members).argmin(-1)
    np.testing.assert_allclose(chosen, _expected(weight, members[places], step, sign), rtol=1e-6)
    shares = np.broadcast_to(upstream * sign * step, shape)
    for member in np.unique(members):
        # Equal members share what they were taken for.
        np.testing.assert_allclose(
            gradient.numpy()[0, members == member].sum(),
            shares[members[places] == member].sum(),
            rtol=1e-4,
            atol=1e-4 * np.abs(shares).max(),
        )
