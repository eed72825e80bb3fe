"""Means by channel, exact in any order."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.calibration.channel_means import ChannelSums

_FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
_ARRAYS = hnp.arrays(np.float32, (2, 3), elements=_FINITE)


@settings(deadline=None)
@given(st.lists(_ARRAYS, min_size=1, max_size=8), st.randoms())
def test_any_order_and_grouping_gives_the_same(arrays: list, random: object) -> None:
    whole = functools.reduce(operator.add, map(ChannelSums.of, arrays))
    parts = [ChannelSums.of(array) for array in arrays]
    random.shuffle(parts)  # type: ignore[attr-defined]
    while len(parts) > 1:
        one = parts.pop(random.randrange(len(parts)))  # type: ignore[attr-defined]
        parts.append(one + parts.pop(random.randrange(len(parts))))  # type: ignore[attr-defined]
    assert parts[0] == whole
    assert parts[0].means().tobytes() == whole.means().tobytes()


@settings(deadline=None)
@given(st.lists(_ARRAYS, min_size=1, max_size=8))
def test_the_mean_is_the_nearest_double(arrays: list) -> None:
    means = functools.reduce(operator.add, map(ChannelSums.of, arrays)).means()
    for channel, mean in enumerate(means):
        sums = [math.fsum(array[:, channel].astype(np.float64)) / 2 for array in arrays]
        # Each example's mean is cut at 2**-96.
        np.testing.assert_allclose(mean, math.fsum(sums) / len(arrays), rtol=1e-15, atol=2.0**-95)


def test_large_and_small_channels_keep_their_digits() -> None:
    rows = np.float32([[3e38, 1e-12, -1.5], [3e38, 1e-12, 0.5]])
    twice = ChannelSums.of(rows) + ChannelSums.of(rows)
    np.testing.assert_allclose(twice.means(), rows.astype(np.float64).mean(axis=0), rtol=1e-15)


def test_a_scalar_is_one_channel_and_nothing_is_no_example() -> None:
    assert ChannelSums.of(np.float32(2.0)).means().tolist() == [2.0]
    assert ChannelSums.of(np.zeros((0, 3), np.float32)).examples == 0
