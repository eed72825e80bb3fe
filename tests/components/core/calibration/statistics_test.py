"""Statistics merge exactly, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.calibration.statistics import (
    TensorStatistics,
    TensorTally,
    measure,
    merge,
    require_finite,
)
from tfx_edge.components.core.errors import EdgeError

_ARRAYS = hnp.arrays(np.float32, st.integers(0, 12), elements=st.floats(width=32))


@settings(deadline=None)
@given(st.lists(_ARRAYS, min_size=1, max_size=6), st.randoms())
def test_any_split_and_order_gives_the_statistics_of_the_whole(arrays: list, random: object) -> None:
    whole = measure(np.concatenate(arrays))
    shuffled = list(arrays)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = [measure(array) for array in shuffled]
    while len(parts) > 1:
        # Any tree of merges.
        one = parts.pop(random.randrange(len(parts)))  # type: ignore[attr-defined]
        other = parts.pop(random.randrange(len(parts)))  # type: ignore[attr-defined]
        parts.append(merge(one, other))
    assert parts[0] == whole
    # Equal is not enough: -0.0 == 0.0, but is written otherwise.
    assert repr(parts[0]) == repr(whole)


@settings(deadline=None)
@given(_ARRAYS, _ARRAYS, _ARRAYS)
def test_merge_is_associative_and_commutative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    x, y, z = measure(a), measure(b), measure(c)
    assert merge(x, y) == merge(y, x)
    assert merge(merge(x, y), z) == merge(x, merge(y, z))
    assert merge(x, TensorStatistics()) == x
    assert merge(x, y).histogram.total == x.finite + y.finite


def test_minus_zero_is_zero_in_any_order() -> None:
    zeros = [measure(np.array([value], np.float32)) for value in (0.0, -0.0, np.inf, -0.0)]
    zeros.append(measure(np.array([-0.0, np.nan], np.float32)))
    for seen in zeros:
        if seen.finite:
            assert repr(merge(seen, zeros[0])) == repr(merge(zeros[0], seen))
            assert repr((seen.minimum, seen.maximum)) == '(0.0, 0.0)'


@settings(deadline=None)
@given(_ARRAYS)
def test_every_value_is_counted_once(values: np.ndarray) -> None:
    seen = measure(values)
    assert seen.finite + seen.infinite + seen.nan == values.size
    finite = values[np.isfinite(values)]
    if finite.size:
        assert (seen.minimum, seen.maximum) == (finite.min(), finite.max())


@settings(deadline=None)
@given(st.lists(_ARRAYS, max_size=5), st.booleans())
def test_a_tally_agrees_with_merging(arrays: list, histograms: bool) -> None:
    tally = TensorTally(histograms=histograms)
    merged = measure(np.zeros(0, np.float32), histograms=histograms)
    for array in arrays:
        tally.add(array)
        merged = merge(merged, measure(array, histograms=histograms))
    assert tally.statistics() == merged
    assert repr(tally.statistics()) == repr(merged)


def test_a_histogram_is_counted_only_if_asked() -> None:
    assert measure(np.ones(3, np.float32), histograms=False).histogram is None
    assert measure(np.ones(3, np.float32)).histogram.total == 3


@pytest.mark.parametrize(
    ('values', 'what'), [([1, np.nan], 'NaN'), ([1, -np.inf], 'infinity'), ([], 'no value')]
)
def test_statistics_that_are_not_finite_are_refused_by_name(values: list, what: str) -> None:
    with pytest.raises(EdgeError, match=f"tensor 'layer' held {what}"):
        require_finite(
            {'fine': measure(np.ones(2, np.float32)), 'layer': measure(np.array(values, np.float32))}
        )
