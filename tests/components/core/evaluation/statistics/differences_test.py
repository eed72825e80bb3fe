"""Differences of outputs: plain NumPy's, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.evaluation.statistics.differences import (
    Differences,
    are_probabilities,
    divergence,
)

ROWS = hnp.arrays(np.float32, (9, 2, 4), elements=st.floats(-1e6, 1e6, width=32) | st.just(float('nan')))
PROBABILITIES = hnp.arrays(np.float64, (2, 6), elements=st.floats(0.001, 1)).map(
    lambda rows: rows / rows.sum(axis=1, keepdims=True)
)


def summed(rows: np.ndarray) -> Differences:
    total = Differences()
    for ours, theirs in rows:
        total.add(ours, theirs)
    return total


@given(ROWS, st.permutations(range(9)), st.integers(0, 9))
def test_they_merge_in_any_order(rows, order, cut):
    whole, merged = summed(rows), summed(rows[order[:cut]])
    merged.merge(summed(rows[order[cut:]]))
    assert merged == whole
    finite = rows[np.isfinite(rows).all(axis=(1, 2))].astype(np.float64)
    assert (whole.examples, whole.values) == (len(finite), 4 * len(finite))
    if len(finite):
        apart = np.abs(finite[:, 0] - finite[:, 1])
        assert whole.largest == apart.max()
        assert whole.mean == pytest.approx(apart.mean(), rel=1e-12)
    else:
        assert whole.mean is None


@given(PROBABILITIES)
def test_divergence_is_of_the_baseline_to_the_candidate(rows):
    candidate, baseline = rows
    total = summed(rows[np.newaxis])
    expected = np.sum(baseline * np.log(baseline / candidate))
    assert total.mean_divergence == pytest.approx(expected, abs=1e-5)
    assert divergence(baseline, baseline) == 0


def test_divergence_is_finite_where_an_integer_output_rounds_to_nothing():
    assert divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(7.366, abs=0.01)


def test_logits_have_no_divergence_and_one_example_of_them_is_enough():
    rows = np.array([[[0.2, 0.8], [0.3, 0.7]], [[2.0, -1.0], [2.0, -1.0]]])
    assert summed(rows[:1]).mean_divergence is not None
    assert summed(rows).mean_divergence is None
    assert Differences().mean_divergence is None


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([0.5, 0.5], True),
        ([0.49609375, 0.5], True),  # rounded to 1/256
        ([0.5, 0.4], False),
        ([1.1, -0.1], False),
        ([1.0], False),
        ([0.1] * 10, True),
        ([1 / 256] * 250 + [0.0] * 50, True),
    ],
)
def test_probabilities_are_reported_as_exactly_as_integer_outputs_hold_them(values, expected):
    assert are_probabilities(np.array(values)) is expected
