"""Histograms add up exactly, and say of each value what their bins promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.calibration import histogram as module
from tfx_edge.components.core.calibration.bin_counts import BLOCK, SHIFT
from tfx_edge.components.core.calibration.histogram import Histogram

_FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
_ARRAYS = hnp.arrays(np.float32, st.integers(0, 12), elements=_FINITE)


@settings(deadline=None)
@given(_ARRAYS, _ARRAYS, _ARRAYS)
def test_adding_is_associative_and_commutative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    x, y, z = Histogram.of(a), Histogram.of(b), Histogram.of(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z) == Histogram.of(np.concatenate([c, a, b]))
    assert x + Histogram() == x


@settings(deadline=None)
@given(_ARRAYS)
def test_each_value_lies_in_its_narrow_bin(values: np.ndarray) -> None:
    histogram = Histogram.of(values)
    lower, upper = histogram.edges()
    assert histogram.total == values.size
    assert (histogram.counts > 0).all()
    assert (np.diff(histogram.bins) > 0).all()
    for value in values.astype(np.float64):
        (at,) = np.flatnonzero(Histogram.of(np.float32([value])).bins == histogram.bins)
        if abs(value) < 2.0**-132:
            assert histogram.bins[at] == lower[at] == upper[at] == 0
        else:
            assert lower[at] <= value <= upper[at]
        if abs(value) >= 2.0**-126:
            assert upper[at] - lower[at] <= abs(value) / 64


@settings(deadline=None)
@given(_ARRAYS)
def test_bins_are_symmetric(values: np.ndarray) -> None:
    histogram, mirrored = Histogram.of(values), Histogram.of(-values)
    np.testing.assert_array_equal(histogram.bins, -mirrored.bins[::-1])
    np.testing.assert_array_equal(histogram.counts, mirrored.counts[::-1])


def test_minus_zero_is_zero() -> None:
    assert Histogram.of(np.float32([0.0, -0.0])) == Histogram.of(np.float32([0.0, 0.0]))
    assert Histogram.of(np.float32([-0.0])).bins.tolist() == [0]


def test_edges_are_where_the_documentation_says() -> None:
    lower, upper = Histogram.of(np.float32([-3.0, 0.0, 1.0, 1.02])).edges()
    np.testing.assert_array_equal(lower, [-3.03125, 0, 1, 1.015625])
    np.testing.assert_array_equal(upper, [-3.0, 0, 1.015625, 1.03125])


@pytest.mark.parametrize('size', [1, BLOCK - 1, BLOCK, 2 * BLOCK + 7])
def test_every_value_of_blocks_of_any_size_is_counted(size: int) -> None:
    values = np.maximum(np.random.default_rng(0).normal(size=size), -1).astype(np.float32)
    bins = (np.abs(values).view(np.uint32) >> SHIFT).astype(np.int64) * np.where(values < 0, -1, 1)
    found, counts = np.unique(bins, return_counts=True)
    histogram = Histogram.of(values)
    np.testing.assert_array_equal(histogram.bins, found)
    np.testing.assert_array_equal(histogram.counts, counts)


def test_counts_grow_beyond_what_a_counter_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.float32([1, -2, 0, 300])
    monkeypatch.setattr(module, 'MOST_RECENT', 9)
    counter = module.HistogramCounter()
    for _ in range(7):
        counter.add(values, 300.0)
    assert counter.histogram() == Histogram.of(np.tile(values, 7))
