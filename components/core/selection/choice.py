"""Which candidate ships."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.common_metric import MetricName, MetricValue, value_of
from tfx_edge.components.core.selection.figures import ZIP_BYTES, figures, said


@dataclasses.dataclass(frozen=True)
class Aim:
    """What the choice makes the best of.

    Attributes:
      figure: key of the figure that is to be small; zip bytes decide between equals where the metric is the aim.
      title: of the figure.
      by_metric: whether the metric comes first.
      metric: that candidates are compared by; None where they have none in common.
    """

    figure: str = ZIP_BYTES
    title: str = 'zip bytes'
    by_metric: bool = False
    metric: MetricName | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """The chosen candidate.

    Attributes:
      place: its place among the candidates.
      holds_all: whether it holds every limit.
      outcomes: why each was chosen, or not, in one line.
      front: the places of those on the front of figure and metric.
    """

    place: int
    holds_all: bool
    outcomes: tuple[str, ...]
    front: frozenset[int]


@dataclasses.dataclass(frozen=True)
class _Row:
    """A candidate, with what it is ranked by."""

    place: int
    candidate: Candidate
    figure: float | None
    metric: MetricValue | None


def choose(candidates: Sequence[Candidate], aim: Aim) -> Choice:
    """Takes the best candidate of those that hold every limit, or else the one that comes nearest to the limits.

    Nearest is the one that misses the fewest limits; of these, the fewest thresholds of eval_config; of these, the one
    that is least over the other limits (relative to each); of these, the one with the best metric.
    Of those that hold every limit, the ones that were not measured by what is aimed at come last.

    Args:
      candidates: evaluated with the same limits, or not there.
      aim: what is best.

    Returns:
      The choice; of equal candidates the first.

    Raises:
      EdgeError: none is there, or none was measured by what is aimed at.
    """
    rows = [_row(place, candidate, aim) for place, candidate in enumerate(candidates)]
    there = [row for row in rows if row.candidate.report is not None]
    if not there:
        lines = [f'{c.route.name}: {"; ".join(c.missed) or "nothing arrived"}' for c in candidates]
        raise EdgeError(f'no candidate arrived ({" | ".join(lines)}); run the steps that failed again.')
    if all(_aimed_at(row, aim) is None for row in there):
        raise EdgeError(_not_measured(aim))
    eligible = [row for row in there if row.candidate.holds_all]
    best = min(eligible or there, key=lambda row: _rank(row, aim) if eligible else _distance(row, aim))
    outcomes = tuple(_outcome(row, best, eligible, aim) for row in rows)
    return Choice(best.place, bool(eligible), outcomes, _front(eligible or there, aim))


def _row(place: int, candidate: Candidate, aim: Aim) -> _Row:
    if candidate.report is None:
        return _Row(place, candidate, None, None)
    return _Row(
        place,
        candidate,
        figures(candidate.report).get(aim.figure),
        value_of(candidate.report, aim.metric),
    )


def _aimed_at(row: _Row, aim: Aim) -> float | None:
    if not aim.by_metric:
        return row.figure
    return None if row.metric is None else row.metric.value


def _aimed_title(aim: Aim) -> str:
    return 'metric' if aim.by_metric else aim.title


def _not_measured(aim: Aim) -> str:
    if aim.by_metric:
        return (
            'Selection.objective is METRIC, and the candidates have no metric in common; give their EdgeEvaluators the '
            'same eval_config.'
        )
    return (
        f'Selection.objective is {aim.title}, which was measured of no candidate; set EdgeEvaluation.max_latency_ratio '
        'for the latency, and name the device in EdgeEvaluation.devices for its figures.'
    )


def loss(metric: MetricValue | None, aim: Aim) -> float:
    """A metric turned so that less is better; infinite where it was not measured."""
    if metric is None or aim.metric is None:
        return math.inf
    return -metric.value if aim.metric.higher_is_better else metric.value


def _rank(row: _Row, aim: Aim) -> tuple[float, float]:
    figure = math.inf if row.figure is None else row.figure
    turned = loss(row.metric, aim)
    return (turned, figure) if aim.by_metric else (figure, turned)


def _distance(row: _Row, aim: Aim) -> tuple[float, ...]:
    report = row.candidate.report or {}
    failed = [gate for gate in report['gates'] if not gate['holds']]
    over = sum(excess(gate) for gate in failed)
    figure = math.inf if row.figure is None else row.figure
    missed = len(report['reasons'])
    return missed, missed - len(failed), over, loss(row.metric, aim), figure


def excess(gate: Mapping[str, Any]) -> float:
    """How far a gate is missed, relative to its limit.

    Args:
      gate: of `report.json`, one that does not hold.

    Returns:
      Infinity where nothing was measured.

    Example:
      >>> excess({'name': 'max_zip_bytes', 'measured': 1500, 'limit': 1000, 'holds': False})
      0.5
    """
    measured, limit = gate['measured'], gate['limit']
    if not isinstance(measured, (int, float)):
        return math.inf
    return abs(measured - limit) / abs(limit) if limit else abs(measured)


def _front(rows: Sequence[_Row], aim: Aim) -> frozenset[int]:
    points = {
        row.place: (row.figure, loss(row.metric, aim))
        for row in rows
        if row.figure is not None and (row.metric is not None or aim.metric is None)
    }

    def is_beaten(point: tuple[float, float]) -> bool:
        return any(
            other[0] <= point[0] and other[1] <= point[1] and other != point for other in points.values()
        )

    return frozenset(place for place, point in points.items() if not is_beaten(point))


def _outcome(row: _Row, best: _Row, eligible: Sequence[_Row], aim: Aim) -> str:
    candidate = row.candidate
    if row is best:
        return _why_chosen(row, len(eligible), aim)
    if candidate.report is None:
        return 'did not arrive'
    if not candidate.holds_all:
        missed = len(candidate.missed)
        return f'misses {missed} limit{"s" if missed != 1 else ""}'
    if _aimed_at(row, aim) is None:
        return f'its {_aimed_title(aim)} was not measured'
    return _why_beaten(row, best, aim)


def _why_chosen(row: _Row, eligible: int, aim: Aim) -> str:
    if not eligible:
        missed = len(row.candidate.missed)
        return (
            f'no candidate holds every limit; this one comes nearest, with {missed} limit'
            f'{"s" if missed != 1 else ""} missed'
        )
    if eligible == 1:
        return 'the only one that holds every limit'
    if _aimed_at(row, aim) is None:
        return (
            f'{_aimed_title(aim)} was measured of none of the {eligible} that hold every limit; the best of these '
            'otherwise'
        )
    of = f'of {eligible} that hold every limit'
    if aim.by_metric and aim.metric is not None and row.metric is not None:
        return f'{aim.metric.name} {row.metric.value:.6g}, the best {of}'
    return f'{aim.title} {said(row.figure)}, the lowest {of}'


def _why_beaten(row: _Row, best: _Row, aim: Aim) -> str:
    if aim.by_metric and aim.metric is not None and row.metric is not None and best.metric is not None:
        if row.metric.value != best.metric.value:
            values = f'{row.metric.value:.6g}', f'{best.metric.value:.6g}'
            if values[0] == values[1]:
                values = f'{row.metric.value:.12g}', f'{best.metric.value:.12g}'
            return f'{aim.metric.name} {values[0]}; the chosen one has {values[1]}'
    elif row.figure != best.figure:
        return f'{aim.title} {said(row.figure)}; the chosen one has {said(best.figure)}'
    return 'equal to the chosen one by the objective, which is better by the other figure or comes first'
