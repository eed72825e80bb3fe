"""Counting agreement: exact, and the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.evaluation.agreement import (
    Comparison,
    Counts,
    compare_outputs,
    count,
    pair_outputs,
)

BOTH = Comparison('candidate', 'baseline', {'': ''})
SCORES = st.floats(-5, 5, width=32) | st.just(float('nan')) | st.just(float('inf'))


@given(
    hnp.arrays(np.float32, (12, 3), elements=SCORES),
    hnp.arrays(np.float32, (12, 3), elements=SCORES),
    st.data(),
)
def test_counts_do_not_depend_on_batches_and_order(ours, theirs, data):
    whole = count(BOTH, {'candidate': ours, 'baseline': theirs})
    order = np.array(data.draw(st.permutations(range(12))))
    cut = data.draw(st.integers(1, 11))
    parts = [
        count(BOTH, {'candidate': ours[rows], 'baseline': theirs[rows]})
        for rows in (order[:cut], order[cut:])
    ]
    assert sum(parts, Counts()) == whole
    assert whole.examples == 12
    told = ~(np.isnan(ours).any(1) | np.isnan(theirs).any(1))
    assert whole.agreeing == sum(
        list(a).index(max(a)) == list(b).index(max(b)) for a, b in zip(ours[told], theirs[told], strict=True)
    )
    assert whole.not_finite == sum(not np.isfinite(row).all() for row in ours)


def test_of_several_outputs_all_must_agree():
    comparison = Comparison('candidate', 'baseline', {'a': 'a', 'b': 'b'})
    first, second = np.array([[0.1, 0.9], [0.9, 0.1]]), np.array([[0.9, 0.1], [0.9, 0.1]])
    counts = count(comparison, {'candidate': {'a': first, 'b': first}, 'baseline': {'a': first, 'b': second}})
    assert counts == Counts(examples=2, agreeing=1, not_finite=0)


def test_a_model_alone_agrees_with_nothing_but_is_watched():
    alone = Comparison('', None, {}, 'there is no baseline')
    assert count(alone, np.array([[0.1, 0.9], [np.nan, 0.0]])) == Counts(2, 0, 1)


def test_single_outputs_pair_whatever_their_names():
    paired = compare_outputs('candidate', {'output_0': (None, 10)}, 'baseline', {'probabilities': (None, 10)})
    assert (paired.baseline, paired.outputs, paired.obstacle) == ('baseline', {'': ''}, '')


@pytest.mark.parametrize(
    ('ours', 'theirs', 'obstacle'),
    [
        ({'score': (None, 1)}, {'score': (None, 1)}, 'not (batch, classes)'),
        ({'mask': (None, 4, 4, 3)}, {'mask': (None, 4, 4, 3)}, 'not (batch, classes)'),
        ({'a': (None, 3), 'b': (None, 3)}, {'a': (None, 3), 'c': (None, 3)}, "the baseline ['a', 'c']"),
        ({'a': (None, 3)}, {'a': (None, 3), 'c': (None, 3)}, "the baseline ['a', 'c']"),
        ({'a': (None, 3)}, {'a': (None, 4)}, '(None, 4) in the baseline'),
    ],
)
def test_what_has_no_top_answer_is_not_compared(ours, theirs, obstacle):
    comparison = compare_outputs('candidate', ours, 'baseline', theirs)
    assert comparison.baseline is None
    assert obstacle in comparison.obstacle


def test_a_key_or_a_class_beside_the_answer_is_no_obstacle():
    shapes = {'class': (None,), 'id': (None, 1), 'p': (None, 10)}
    told = compare_outputs('candidate', shapes, 'baseline', shapes, asides={'class', 'id'})
    assert (told.outputs, told.obstacle) == ({'p': 'p'}, '')
    nothing_else = compare_outputs('c', {'id': (None, 1)}, 'b', {'id': (None, 1)}, asides={'id'})
    assert 'not (batch, classes)' in nothing_else.obstacle


def test_an_output_keeps_its_name_where_others_are_left_out():
    shapes = {'p': (None, 10)}
    told = compare_outputs('candidate', shapes, 'baseline', shapes, are_named=(True, False))
    assert told.outputs == {'p': ''}
    assert pair_outputs(shapes, shapes, are_named=(True, True)) == ({'p': 'p'}, '')
    assert pair_outputs(shapes, shapes) == ({'': ''}, '')
