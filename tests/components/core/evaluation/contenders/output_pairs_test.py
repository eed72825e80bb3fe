"""Which outputs are held against each other: by name, and only where that means something."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.evaluation.contenders.output_pairs import compare_outputs, pair_outputs


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
    paired = compare_outputs('candidate', shapes, 'baseline', shapes, asides={'class', 'id'})
    assert (paired.outputs, paired.obstacle) == ({'p': 'p'}, '')
    nothing_else = compare_outputs('c', {'id': (None, 1)}, 'b', {'id': (None, 1)}, asides={'id'})
    assert 'not (batch, classes)' in nothing_else.obstacle


def test_an_output_keeps_its_name_where_others_are_left_out():
    shapes = {'p': (None, 10)}
    paired = compare_outputs('candidate', shapes, 'baseline', shapes, are_named=(True, False))
    assert paired.outputs == {'p': ''}
    assert pair_outputs(shapes, shapes, are_named=(True, True)) == ({'p': 'p'}, '')
    assert pair_outputs(shapes, shapes) == ({'': ''}, '')
