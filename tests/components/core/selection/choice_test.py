"""Which candidate is chosen, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.components.core.selection.reports import ACCURACY, absent, candidate, metric
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Aim, Choice, choose
from tfx_edge.components.core.selection.common_metric import MetricName

METRIC = MetricName(ACCURACY, '', higher_is_better=True)
AIM = Aim(metric=METRIC)
BY_METRIC = Aim(by_metric=True, metric=METRIC)
TOO_LARGE = {'name': 'max_zip_bytes', 'measured': 1500, 'limit': 1000, 'holds': False, 'detail': ''}


def chosen(candidates: list[Candidate], aim: Aim = AIM) -> tuple[str, Choice]:
    choice = choose(candidates, aim)
    return candidates[choice.place].route.name, choice


def test_the_smallest_that_holds_every_limit_is_chosen():
    name, choice = chosen(
        [
            candidate('float16', 0.95, 3000),
            candidate('int8', 0.94, 2000),
            candidate('tiny', 0.5, 500, reasons=('accuracy: 0.5, limit at least 0.9',)),
        ]
    )
    assert (name, choice.holds_all) == ('int8', True)
    assert choice.outcomes == (
        'zip bytes 3,000; the chosen one has 2,000',
        'zip bytes 2,000, the lowest of 2 that hold every limit',
        'misses 1 limit',
    )


def test_of_equal_figures_the_better_metric_counts_and_then_the_order():
    assert chosen([candidate('a', 0.90), candidate('b', 0.93), candidate('c', 0.93)])[0] == 'b'


def test_a_blessed_one_that_was_not_measured_is_taken_before_one_that_is_not_blessed():
    devices = [{'device': 'web', 'milliseconds': 3.5}]
    aim = Aim('web milliseconds', 'web: milliseconds', metric=METRIC)
    rows = [candidate('a', 0.9), candidate('b', 0.95), candidate('c', devices=devices, reasons=('x',))]
    name, choice = chosen(rows, aim)
    assert (name, choice.holds_all) == ('b', True)
    assert choice.outcomes[1] == (
        'web: milliseconds was measured of none of the 2 that hold every limit; the best of these otherwise'
    )


def test_a_metric_that_is_no_number_of_one_leaves_the_others_to_be_chosen_from():
    rows = [candidate('a', 0.9), candidate('b', 'nan'), candidate('c', 0.8)]
    name, choice = chosen(rows, BY_METRIC)
    assert name == 'a'
    assert choice.outcomes[1] == 'its metric was not measured'


def test_values_that_differ_little_are_told_apart():
    rows = [candidate('a', 0.97771201), candidate('b', 0.97771202)]
    _, choice = chosen(rows, BY_METRIC)
    assert choice.outcomes[0] == f'{ACCURACY} 0.97771201; the chosen one has 0.97771202'


def test_of_a_loss_the_lower_value_is_the_better_one():
    losses = Aim(by_metric=True, metric=MetricName('loss', '', higher_is_better=False))
    rows = [
        candidate(name, metrics=[metric('loss', value)])
        for name, value in (('a', 0.3), ('b', 0.1), ('c', 0.2))
    ]
    assert chosen(rows, losses)[0] == 'b'


def test_with_the_metric_as_objective_zip_bytes_decide_between_equals():
    rows = [candidate('a', 0.93, 900), candidate('b', 0.95, 2000), candidate('c', 0.95, 1500)]
    name, choice = chosen(rows, BY_METRIC)
    assert name == 'c'
    assert choice.outcomes[0] == f'{ACCURACY} 0.93; the chosen one has 0.95'


@pytest.mark.parametrize(
    ('rows', 'nearest'),
    [
        # The fewest limits missed come first,
        ([('a', 0.9, 100, ('x', 'y'), ()), ('b', 0.1, 900, ('x',), ())], 'b'),
        # then the fewest thresholds of eval_config, which are no gates,
        ([('a', 0.1, 100, ('accuracy: 0.1',), ()), ('b', 0.9, 1500, ('x',), (TOO_LARGE,))], 'b'),
        # then how far the others are missed,
        (
            [
                ('a', 0.9, 100, ('x',), ({**TOO_LARGE, 'measured': 2000},)),
                ('b', 0.1, 900, ('x',), (TOO_LARGE,)),
            ],
            'b',
        ),
        # what was not measured being farthest,
        (
            [
                ('a', 0.9, 100, ('x',), ({**TOO_LARGE, 'measured': None},)),
                ('b', 0.1, 900, ('x',), (TOO_LARGE,)),
            ],
            'b',
        ),
        # then the metric.
        ([('a', 0.90, 100, ('x',), ()), ('b', 0.91, 900, ('x',), ())], 'b'),
    ],
)
def test_where_none_holds_every_limit_the_nearest_is_given_out(rows, nearest):
    candidates = [
        candidate(name, accuracy, size, reasons=reasons, gates=gates)
        for name, accuracy, size, reasons, gates in rows
    ]
    name, choice = chosen(candidates)
    assert (name, choice.holds_all) == (nearest, False)
    assert choice.outcomes[choice.place].startswith('no candidate holds every limit; this one comes nearest')


def test_what_did_not_arrive_is_left_out_of_the_choice():
    name, choice = chosen([absent('a', 'Pruner failed: no space'), candidate('b')])
    assert (name, choice.holds_all) == ('b', True)
    assert choice.outcomes == ('did not arrive', 'the only one that holds every limit')


def test_without_any_candidate_the_causes_are_named():
    with pytest.raises(
        EdgeError, match=r'no candidate arrived \(a: Pruner failed: no space \| b: nothing arrived'
    ):
        choose([absent('a', 'Pruner failed: no space'), absent('b')], AIM)


def test_an_objective_that_was_measured_of_none_is_refused():
    with pytest.raises(
        EdgeError, match=r'cycles, which was measured of no candidate; .* EdgeEvaluation\.devices'
    ):
        choose([candidate('a')], Aim('ethos-u55-128 cycles', 'ethos-u55-128: cycles', metric=METRIC))


def test_one_without_the_objective_is_not_taken():
    devices = [{'device': 'web', 'milliseconds': 3.5}]
    aim = Aim('web milliseconds', 'web: milliseconds', metric=METRIC)
    rows = [candidate('a', 0.99, 10), candidate('b', 0.9, 1000, devices=devices)]
    name, choice = chosen(rows, aim)
    assert name == 'b'
    assert choice.outcomes[0] == 'its web: milliseconds was not measured'


ROWS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=12)


@given(ROWS, st.booleans())
def test_the_chosen_one_holds_every_limit_if_any_does_and_is_on_the_front(rows, by_metric):
    candidates = [
        candidate(f'c{place}', accuracy / 4, 100 * size, reasons=('x',) * missed)
        for place, (size, accuracy, missed) in enumerate(rows)
    ]
    choice = choose(candidates, BY_METRIC if by_metric else AIM)
    pool = [row for row in rows if not row[2]] or rows
    size, accuracy, missed = rows[choice.place]
    assert choice.holds_all == any(not row[2] for row in rows) == (not missed)
    if choice.holds_all:
        best = max(row[1] for row in pool) if by_metric else min(row[0] for row in pool)
        assert (accuracy if by_metric else size) == best
        assert choice.place in choice.front
    for place in choice.front:
        beaten = rows[place]
        assert not any(
            other[0] <= beaten[0] and other[1] >= beaten[1] and other[:2] != beaten[:2] for other in pool
        )
    assert len(choice.outcomes) == len(rows)
