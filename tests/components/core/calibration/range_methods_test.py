"""Ranges from statistics: what each method cuts, and what none may touch."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.calibration.measurements import Tally
from tfx_edge.components.core.calibration.range_methods import METHODS, ranges
from tfx_edge.components.core.calibration.statistics import measure, merge
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

_FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
_ARRAYS = hnp.arrays(np.float32, st.integers(1, 30), elements=_FINITE)
_ANY_METHOD = pytest.mark.parametrize('method', METHODS)
_CUTTING = pytest.mark.parametrize('method', METHODS[1:])


def _range(values: np.ndarray, method: str, **arguments: float) -> tuple[float, float]:
    return ranges({'x': measure(values.astype(np.float32))}, method, **arguments)['x']


@_ANY_METHOD
@settings(deadline=None)
@given(values=_ARRAYS, percentile=st.floats(1, 100), levels=st.sampled_from([16, 256, 65536]))
@example(values=np.float32([-3.2932574e16, -3.3407563e16]), percentile=1.0, levels=16)
@example(values=np.float32([3.2932574e16, 3.3407563e16]), percentile=1.0, levels=16)
def test_no_range_is_wider_than_the_values(
    method: str, values: np.ndarray, percentile: float, levels: int
) -> None:
    low, high = _range(values, method, percentile=percentile, levels=levels)
    assert values.min() <= low <= high <= values.max()
    if values.min() <= 0 <= values.max():
        assert low <= 0 <= high
    if values.min() >= 0:
        assert low == values.min()
    if values.max() <= 0:
        assert high == values.max()


@_ANY_METHOD
@settings(deadline=None, max_examples=20)
@given(arrays=st.lists(_ARRAYS, min_size=1, max_size=4))
def test_the_order_of_what_was_measured_changes_nothing(method: str, arrays: list) -> None:
    found = {
        ranges({'x': functools.reduce(merge, map(measure, order))}, method)['x']
        for order in itertools.permutations(arrays)
    }
    assert len(found) == 1


@_ANY_METHOD
@pytest.mark.parametrize('value', [0.0, 3.5, -1e-30, 3e38])
def test_a_constant_stays_as_it_is(method: str, value: float) -> None:
    assert _range(np.full(100, value), method) == (np.float32(value), np.float32(value))


@_ANY_METHOD
@pytest.mark.parametrize(
    ('values', 'what'), [([1, np.nan], 'NaN'), ([-np.inf], 'infinity'), ([], 'no value')]
)
def test_what_is_not_finite_is_refused_by_name(method: str, values: list, what: str) -> None:
    with pytest.raises(EdgeError, match=f"tensor 'layer' held {what}"):
        ranges({'layer': measure(np.array(values, np.float32))}, method)


@_CUTTING
def test_a_histogram_is_needed(method: str) -> None:
    with pytest.raises(EdgeError, match=f"tensor 'layer' has no histogram, which {method} needs"):
        ranges({'layer': measure(np.ones(3, np.float32), histograms=False)}, method)


@pytest.mark.parametrize('arguments', [{'method': 'MEDIAN'}, {'percentile': 0}, {'percentile': 100.1}])
def test_other_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(EdgeError, match=r'expected'):
        ranges({}, **arguments)


def test_minimum_and_maximum_are_exact() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert _range(values, 'MIN_MAX') == (values.min(), values.max())


@settings(deadline=None)
@given(values=_ARRAYS, percentile=st.floats(1, 100))
def test_a_percentile_cuts_no_more_than_it_may(values: np.ndarray, percentile: float) -> None:
    low, high = _range(values, 'PERCENTILE', percentile=percentile)
    # What is smaller counts as zero.
    other = values[np.abs(values) >= 2.0**-132]
    assert np.sum(other < low) + np.sum(other > high) <= len(other) * (100 - percentile) / 100


def test_a_percentile_cuts_both_sides_and_of_a_relu_the_outer_one() -> None:
    values = np.linspace(-1, 1, 200_001)
    assert _range(values, 'PERCENTILE', percentile=90) == pytest.approx((-0.9, 0.9), rel=1 / 64)
    low, high = _range(np.maximum(values, 0), 'PERCENTILE', percentile=90)
    assert low == 0
    # Zeros do not count.
    assert high == pytest.approx(0.9, rel=1 / 64)
    low, high = _range(np.minimum(values, 0), 'PERCENTILE', percentile=90)
    assert low == pytest.approx(-0.9, rel=1 / 64)
    assert high == 0
    assert _range(values, 'PERCENTILE', percentile=100) == (-1, 1)


@pytest.mark.parametrize('rectify', [False, True])
@pytest.mark.parametrize('levels', [16, 256])
def test_squares_are_least(rectify: bool, levels: int) -> None:
    """No other range, tried by quantizing the values themselves, is better by more than the bins are wide."""
    values = np.random.default_rng(0).laplace(size=50_000)
    values = (np.maximum(values, 0) if rectify else values).astype(np.float32)

    def error(low: float, high: float) -> float:
        step = (high - low) / (levels - 1)
        zero = np.round(-low / step)
        codes = np.clip(np.round(values / step) + zero, 0, levels - 1)
        return float(np.mean(((codes - zero) * step - values) ** 2))

    low, high = _range(values, 'MSE', levels=levels)
    assert high < values.max()
    best = min(error(low * s, high * s) for s in np.linspace(0.3, 2, 120))
    assert error(low, high) <= 1.1 * best
    assert error(low, high) < error(float(values.min()), float(values.max()))


def test_with_many_levels_squares_cut_next_to_nothing() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    low, high = _range(values, 'MSE', levels=65536)
    assert low == pytest.approx(values.min(), rel=0.02)
    assert high == pytest.approx(values.max(), rel=0.02)
    assert _range(values, 'ENTROPY', levels=65536) == (np.float32(values.min()), np.float32(values.max()))


def test_entropy_cuts_outliers_and_keeps_what_is_even() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=100_000)
    values[:20] *= 25
    low, high = _range(values, 'ENTROPY')
    assert -low == pytest.approx(high)
    assert 2 < high < 0.3 * np.abs(values).max()
    low, high = _range(np.maximum(values, 0), 'ENTROPY')
    assert low == 0
    assert 2 < high < 0.3 * np.abs(values).max()
    even = random.uniform(-1, 1, 100_000)
    assert _range(even, 'ENTROPY') == pytest.approx((-1, 1), rel=0.02)


@pytest.fixture(scope='module')
def outliers(digits_float: bytes, digits: dict) -> tuple[bytes, dict]:
    """The digits net, and statistics on images in which 2 % of the pixels are 25 times too bright."""
    images = digits['x_train'][:500].copy()
    images[np.random.default_rng(0).random(images.shape) < 0.02] *= 25
    read, tally = ActivationReader(digits_float), Tally(histograms=True)
    for image in images:
        tally.add(read.views({'image': image[np.newaxis]}))
    return digits_float, dict(tally.measurements().statistics)


def _error(model: bytes, found: dict, images: np.ndarray) -> float:
    quantized = quantize_model(model, QuantizationOptions('INT8'), found)
    (wanted,), (got,) = (LiteRTModel(file)({'image': images}).values() for file in (model, quantized))
    return float(np.sqrt(np.mean((wanted - got) ** 2)))


def test_with_outliers_the_file_is_better_than_with_minimum_and_maximum(
    outliers: tuple[bytes, dict], digits: dict
) -> None:
    model, statistics = outliers
    images = digits['x_eval']
    errors = {m: _error(model, ranges(statistics, m, percentile=99.9), images) for m in METHODS}
    assert errors['PERCENTILE'] < 0.85 * errors['MIN_MAX']
    assert errors['MSE'] < errors['MIN_MAX']
    assert errors['ENTROPY'] < errors['MIN_MAX']
