"""Plots of the metric against each figure: who is in them, where, and with which mark."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.components.core.selection.selection_reports import CYCLES, ZIP, candidate, report
from tfx_edge.components.core.selection.pareto_plot import BOTTOM, RIGHT, TOP, WIDTH, Plot, pareto_plots

_FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _plot(of: dict[str, Any]) -> Plot:
    (plot,) = pareto_plots(of)
    return plot


def _routes(plot: Plot) -> list[str]:
    return [point.whole.partition(';')[0] for point in plot.points]


@settings(deadline=None)
@given(st.lists(st.tuples(_FINITE, _FINITE, st.none() | st.tuples(_FINITE, _FINITE)), min_size=2, max_size=8))
@example([(5e-324, -1.7e308, (-1.7e308, 1.7e308)), (1.7e308, 1.7e308, None)])
def test_points_and_their_intervals_are_inside_of_the_plot(
    measured: list[tuple[float, float, tuple[float, float] | None]],
) -> None:
    rows = [candidate(f'r{place}', figure, value) for place, (figure, value, _) in enumerate(measured)]
    for row, (_, _, interval) in zip(rows, measured, strict=True):
        row['metric']['low'], row['metric']['high'] = interval or (None, None)
    plot = _plot(report(*rows))
    assert len(plot.points) == len(measured)
    for point in plot.points:
        assert plot.left < point.x < RIGHT
        heights = [point.y, *(end for end in (point.low, point.high) if end is not None)]
        assert all(TOP < height < BOTTOM for height in heights)
    assert plot.baseline is not None
    assert TOP < plot.baseline.y < BOTTOM
    assert plot.left <= plot.baseline.label_x
    assert TOP < plot.baseline.label_y < BOTTOM
    assert all(plot.left <= tick.place <= RIGHT for tick in plot.x_ticks)
    assert all(TOP <= tick.place <= BOTTOM for tick in plot.y_ticks)


def test_better_metrics_are_higher_and_smaller_files_further_left() -> None:
    plot = _plot(report(candidate('small', 5000, 0.95), candidate('good', 20000, 0.98), chosen='good'))
    small, good = plot.points
    assert small.x < good.x
    assert small.y > good.y


def test_marks_tell_front_verdict_and_choice() -> None:
    rows = [
        candidate('chosen-one', 7000),
        candidate('beaten', 8000, on_front=False),
        candidate('bad', 5000, verdict='NOT_BLESSED', on_front=False),
    ]
    plot = _plot(report(*rows))
    marks = {
        route: (point.verdict, point.on_front, point.is_chosen)
        for route, point in zip(_routes(plot), plot.points, strict=True)
    }
    assert marks == {
        'chosen-one (chosen)': ('BLESSED', True, True),
        'beaten': ('BLESSED', False, False),
        'bad': ('NOT_BLESSED', False, False),
    }
    # Drawn last, it lies above the others.
    assert plot.points[-1].is_chosen


def test_what_a_point_tells() -> None:
    row = candidate('int8', 17210.0, metric=None) | {'metric': {'value': 0.979, 'low': 0.967, 'high': 0.987}}
    plot = _plot(report(candidate('other'), row))
    told = 'int8; accuracy: 0.979 (0.967 to 0.987); zip bytes: 17,210; BLESSED'
    assert told in [point.whole for point in plot.points]
    assert ('int8', '0.979 (0.967 to 0.987); 17,210; BLESSED') in [point.told for point in plot.points]


def test_long_names_are_cut_in_the_drawing_alone() -> None:
    plot = _plot(report(candidate('a' * 500), candidate('b')))
    point = plot.points[-1]
    assert len(point.told[0]) < 60
    assert 'a' * 500 in point.whole


@pytest.mark.parametrize('absent', [None, math.nan, math.inf, True, 10**400])
def test_what_was_not_measured_is_left_out_and_named(absent: Any) -> None:
    without_metric = candidate('no-metric') | {'metric': {'value': absent, 'low': None, 'high': None}}
    rows = [candidate('a', 5000), candidate('b', 9000), without_metric, candidate('no-figure', absent)]
    plot = _plot(report(*rows))
    assert _routes(plot) == ['b', 'a (chosen)']
    assert plot.left_out == [('no-metric', 'no metric'), ('no-figure', 'no figure')]


def test_an_interval_with_one_end_is_none() -> None:
    row = candidate('a') | {'metric': {'value': 0.9, 'low': 0.8, 'high': None}}
    plot = _plot(report(row, candidate('b')))
    assert (plot.points[-1].low, plot.points[-1].high) == (None, None)
    assert '0.8' not in plot.points[-1].whole


def test_an_axis_with_fewer_than_two_figures_has_no_plot() -> None:
    rows = [candidate('a', figures={'zip_bytes': 5000, CYCLES['key']: 1}), candidate('b')]
    plots = pareto_plots(report(*rows, axes=[CYCLES, ZIP]))
    assert [(plot.title, plot.is_objective) for plot in plots] == [('zip bytes', True)]


def test_without_a_metric_there_are_no_plots() -> None:
    rows = [candidate('a', metric=None), candidate('b', metric=None)]
    assert pareto_plots(report(*rows, metric=None)) == []
    assert pareto_plots(report(*rows)) == []


def test_titles_have_the_scale_the_output_and_which_way_is_better() -> None:
    of = report(candidate('a', 1000), candidate('b', 90000))
    of['metric'] |= {'name': 'loss', 'output': 'digit', 'higher_is_better': False, 'baseline': None}
    plot = _plot(of)
    assert plot.x_title == 'zip bytes (log scale)'
    assert plot.y_title == 'loss of digit (less is better)'
    assert plot.baseline is None
    assert _plot(report(candidate('a', 8000), candidate('b', 9000))).x_title == 'zip bytes'


def test_the_label_of_the_baseline_covers_no_point_where_it_has_room() -> None:
    plot = _plot(report(candidate('a', 5000, 0.98), candidate('b', 5001, 0.98), candidate('c', 9000, 0.98)))
    assert plot.baseline is not None
    start, end = plot.baseline.label_x, plot.baseline.label_x + 7 * len(plot.baseline.text)
    assert end <= RIGHT
    assert not any(start <= point.x <= end for point in plot.points)


def test_numbers_of_the_axis_below_are_not_cut_off() -> None:
    plot = _plot(report(candidate('a', 1000000), candidate('b', 1000014)))
    # 1.000015M would end outside of the drawing.
    assert [tick.text for tick in plot.x_ticks] == ['1M', '1.000005M', '1.00001M']
    assert all(tick.place + 3.5 * len(tick.text) <= WIDTH for tick in plot.x_ticks)
