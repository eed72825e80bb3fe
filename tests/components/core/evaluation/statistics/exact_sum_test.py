"""Exact sums: the true sum, in any order and any parts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.statistics.exact_sum import ExactSum, WeightedSums

DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(DOUBLES, st.lists(st.integers(0, 12), min_size=3, max_size=3)), max_size=20)


def exact_sum(values) -> ExactSum:
    total = ExactSum()
    for value in values:
        total.add(value)
    return total


def weighted_sums(rows) -> WeightedSums:
    total = WeightedSums()
    for value, weights in rows:
        total.add(value, np.array(weights))
    return total


@given(st.lists(DOUBLES, max_size=30), st.data())
def test_the_sum_is_exact_and_merges_in_any_order(values, data):
    whole = exact_sum(values)
    assert whole.value() == sum(map(Fraction, values), Fraction(0))
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    parts, others = exact_sum(shuffled[:cut]), exact_sum(shuffled[cut:])
    parts.merge(others)
    assert parts == whole


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30))
def test_the_mean_is_the_nearest_double(values):
    expected = sum(map(Fraction, values), Fraction(0)) / len(values)
    assert exact_sum(values).mean(len(values)) == float(expected)


@given(ROWS, st.data())
def test_weighted_sums_are_exact_and_merge_in_any_order(rows, data):
    whole = weighted_sums(rows)
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    parts = weighted_sums(shuffled[:cut])
    parts.merge(weighted_sums(shuffled[cut:]))
    assert parts == whole


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 12)), min_size=1, max_size=20))
def test_weighted_means_are_the_nearest_doubles(rows):
    total = weighted_sums([(value, [1, weight, 0]) for value, weight in rows])
    if not total.digits:
        return
    means = total.means(np.array([len(rows), 7, 1]))
    assert means[0] == float(sum(Fraction(v) for v, _ in rows) / len(rows))
    assert means[1] == float(sum(Fraction(v) * w for v, w in rows) / 7)
    assert means[2] == 0


def test_merging_leaves_what_is_merged_alone():
    first, second = weighted_sums([(1.0, [1, 2, 3])]), WeightedSums()
    second.merge(first)
    second.add(1.0, np.array([1, 1, 1]))
    assert first == weighted_sums([(1.0, [1, 2, 3])])
