"""What a trial found, as numbers that a search makes small."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Aim, excess, loss
from tfx_edge.components.core.selection.common_metric import value_of
from tfx_edge.components.core.selection.figures import figures, said

# Stands for a limit of which nothing was measured; a sum of such numbers is still one that JSON has.
_FAR = 1e6
# How many limits are missed, beside how far each of them is: EdgeSelector compares both.
_COUNT = 'limits'


@dataclasses.dataclass(frozen=True)
class Finding:
    """Of one route.

    Attributes:
      figure: what the choice makes small; None where it was not measured.
      loss: the metric, turned so that less is better; 0 where reports have none, None where it was not measured.
      missed: 'limits': how many are missed; and by each that is missed, how far, relative to it.
    """

    figure: float | None
    loss: float | None
    missed: Mapping[str, float]


def finding(candidate: Candidate, aim: Aim) -> Finding:
    """Reads an evaluation.

    Args:
      candidate: with its report.
      aim: what the choice makes the best of.

    Returns:
      The numbers.
    """
    report = candidate.report
    assert report is not None
    missed = {_COUNT: float(len(candidate.missed))}
    for gate in report['gates']:
        if not gate['holds']:
            missed[gate['name']] = missed.get(gate['name'], 0.0) + min(excess(gate), _FAR)
    return Finding(figures(report).get(aim.figure), _loss(candidate, aim), missed)


def _loss(candidate: Candidate, aim: Aim) -> float | None:
    if aim.metric is None:
        return 0.0
    measured = value_of(candidate.report or {}, aim.metric)
    return None if measured is None else loss(measured, aim)


def told(candidate: Candidate, aim: Aim) -> str:
    """The finding in one line.

    Args:
      candidate: with its report.
      aim: what the choice makes the best of.

    Returns:
      Such as 'accuracy 97.2 %, zip bytes 11,321, holds all'.
    """
    report = candidate.report
    assert report is not None
    parts = []
    if aim.metric is not None:
        measured = value_of(report, aim.metric)
        parts.append(f'{aim.metric.name} {_metric(aim.metric.name, measured.value if measured else None)}')
    parts.append(f'{aim.title} {said(figures(report).get(aim.figure))}')
    count = len(candidate.missed)
    parts.append('holds all' if candidate.holds_all else f'misses {count} limit{"s" if count != 1 else ""}')
    return ', '.join(parts)


def _metric(name: str, value: float | None) -> str:
    if value is None:
        return 'not measured'
    return f'{value:.1%}'.replace('%', ' %') if 'accuracy' in name else f'{value:.4g}'
