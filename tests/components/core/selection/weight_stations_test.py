"""The way of the weights: which candidates are stations, and what is drawn of their kernels."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.core.selection.selection_reports import candidate, kernel
from tfx_edge.components.core.selection.weight_stations import Cell, kernel_rows, stations


def _chain(chosen: str, *others: str) -> list[str]:
    rows = [candidate(route, weights=[kernel()]) for route in (*others, chosen)]
    return [row['route'] for row in stations(rows, rows[-1])]


def test_stations_are_the_chosen_ones_steps_one_after_the_other() -> None:
    chosen = 'zeros50-clusters16-qat-int8'
    others = ('zeros50-qat-int8', 'int8', 'qat-int8', 'int4', 'float32', 'zeros70-qat-int8')
    assert _chain(chosen, *others) == ['int8', 'qat-int8', 'zeros50-qat-int8', chosen]


def test_steps_in_another_order_or_with_another_last_one_are_no_stations() -> None:
    assert _chain('a-b-int8', 'b-a-int8', 'a-b-int4', 'a', 'a-b', 'int8') == ['int8', 'a-b-int8']


def test_the_longest_chain_counts_and_of_equal_ones_the_first() -> None:
    assert _chain('a-b-c-x', 'c-x', 'a-x', 'a-b-x') == ['a-x', 'a-b-x', 'a-b-c-x']
    assert _chain('a-b-x', 'b-x', 'a-x') == ['b-x', 'a-b-x']


def test_a_candidate_with_the_same_steps_is_no_station() -> None:
    rows = [candidate('one', steps=['a', 'x'], weights=[kernel()]) for _ in range(2)]
    assert stations(rows, rows[1]) == [rows[1]]


def test_a_candidate_without_weights_is_no_station() -> None:
    chosen = candidate('a-x', weights=[kernel()])
    assert stations([candidate('x'), chosen], chosen) == [chosen]


def test_a_route_without_steps_is_alone() -> None:
    chosen = candidate('a', steps=[], weights=[kernel()])
    assert stations([candidate('x', weights=[kernel()]), chosen], chosen) == [chosen]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from('abx'), max_size=5), min_size=1, max_size=12))
def test_each_station_has_the_steps_of_the_one_before_and_more(routes: list[list[str]]) -> None:
    rows = [candidate('r', steps=steps, weights=[kernel()]) for steps in routes]
    chain = stations(rows, rows[-1])
    assert chain[-1] is rows[-1]
    for before, after in itertools.pairwise(chain):
        assert len(before['steps']) < len(after['steps'])
        left = iter(after['steps'])
        assert all(step in left for step in before['steps'])
        assert before['steps'][-1] == after['steps'][-1]


def _cells(*chain: Any) -> list[Cell | None]:
    (row,) = kernel_rows(chain)
    return row.cells


def test_a_kernel_is_shown_at_the_baseline_and_at_each_station() -> None:
    first = candidate('x', weights=[kernel(after=[3, 3, 4], zeros=1, distinct=10)])
    baseline, before, after = _cells(first, candidate('a-x', weights=[kernel(distinct=1)]))
    assert baseline is not None
    assert before is not None
    assert after is not None
    assert [list(cell.counts) for cell in (baseline, before, after)] == [[1, 4, 1], [3, 3, 4], [1, 9, 0]]
    assert [cell.told for cell in (baseline, before, after)] == [
        '0 % zeros, 6 values',
        '10 % zeros, 10 values',
        '90 % zeros, 1 value',
    ]
    assert {cell.most for cell in (baseline, before, after)} == {9}


def test_histograms_of_a_row_have_one_axis() -> None:
    wide = candidate('x', weights=[kernel(limit=2.0, after=[0, 10, 0])])
    baseline, before, after = _cells(wide, candidate('a-x', weights=[kernel(limit=1.0)]))
    assert baseline is not None
    assert before is not None
    assert after is not None
    assert (baseline.share, before.share, after.share) == (0.5, 1.0, 0.5)
    # Nine weights in a bin of half the width stand as high as eighteen in one of the whole.
    assert (before.most, after.most) == (18, 9)


def test_a_station_without_the_kernel_has_an_empty_cell() -> None:
    first = candidate('x', weights=[kernel('other')])
    assert _cells(first, candidate('a-x', weights=[kernel('conv/kernel')]))[1] is None


@pytest.mark.parametrize('limit', [0.0, float('nan'), float('inf'), 1e-300])
def test_kernels_of_zeros_and_broken_limits_are_drawn(limit: float) -> None:
    empty = kernel(limit=limit, before=[0, 0, 0], after=[0, 0, 0], zeros=0, distinct=0)
    cells = _cells(candidate('x', weights=[empty]), candidate('a-x', weights=[kernel()]))
    assert all(cell is not None and 0 < cell.share <= 1 for cell in cells)


def test_histograms_without_bins_are_empty_cells() -> None:
    assert _cells(candidate('x', weights=[kernel(before=[], after=[], zeros=0)])) == [None, None]
