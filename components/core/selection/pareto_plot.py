"""Where the candidates stand in plots of the metric against what a file costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfx_edge.components.core.selection.plot_scale import Scale, Tick, scale_of, ticks
from tfx_edge.components.core.selection.shown_values import figure_text, finite, metric_text, shortened

# The drawing, in its own units: a letter is about 7 wide, so that a phone shows it at 11 pixels.
WIDTH, HEIGHT = 360.0, 300.0
# Where its area ends, and begins and ends from above; the left end depends on the numbers of the left axis.
RIGHT, TOP, BOTTOM = 342.0, 26.0, 218.0
_LETTER, _LINE = 7.0, 22.0
_LETTERS_OF_TITLE = 50
# The label of the baseline has this many places along its line, and one more.
_PARTS_OF_LINE = 8


@dataclasses.dataclass(frozen=True)
class Point:
    """A candidate in a plot.

    Attributes:
      x: of the figure.
      y: of the metric.
      low: of the lower end of the metric's interval; None without one.
      high: of its upper end.
      verdict: of the candidate; the shape of the mark.
      on_front: whether the mark is filled.
      is_chosen: whether it has a ring.
      told: what it stands for, line by line: the route, then metric, figure and verdict.
      whole: the same without shortening, in one line.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    verdict: str
    on_front: bool
    is_chosen: bool
    told: tuple[str, ...]
    whole: str


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The metric of the baseline: a line through the whole area, and where its label has room."""

    y: float
    text: str
    label_x: float
    label_y: float


@dataclasses.dataclass(frozen=True)
class Plot:
    """The metric against one figure.

    Attributes:
      title: the figure's, whole.
      is_objective: whether the choice minimises the figure.
      x_title: of the axis below, with what is to be known of it.
      y_title: of the axis on the left.
      left: where the drawing's area begins, right of the numbers of the left axis.
      x_ticks: on the axis below.
      y_ticks: on the left axis.
      points: in the order in which they are drawn; the chosen one last, above the others.
      baseline: the line of the baseline's metric; None without one.
      left_out: routes that have no place in it, and why.
    """

    title: str
    is_objective: bool
    x_title: str
    y_title: str
    left: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    points: list[Point]
    baseline: Baseline | None
    left_out: list[tuple[str, str]]


def pareto_plots(report: Mapping[str, Any]) -> list[Plot]:
    """A plot for each axis for which at least two candidates have a figure.

    Args:
      report: a `SelectionReport`.

    Returns:
      The plots in the order of the axes; none where the candidates have no metric in common.
    """
    if report['metric'] is None:
        return []
    plots = (_plot(report, axis) for axis in report['axes'])
    return [plot for plot in plots if plot is not None]


def _plot(report: Mapping[str, Any], axis: Mapping[str, Any]) -> Plot | None:
    candidates = report['candidates']
    if sum(_figure(candidate, axis) is not None for candidate in candidates) < 2:
        return None
    shown = [c for c in candidates if _figure(c, axis) is not None and _metric(c) is not None]
    if not shown:
        return None
    baseline = finite((report['metric']['baseline'] or {}).get('value'))
    heights = [height for candidate in shown for height in _heights(candidate)]
    y_scale = scale_of(heights + ([] if baseline is None else [baseline]), BOTTOM, TOP)
    y_ticks = ticks(y_scale, lambda text: _LINE)
    left = 10 + _LETTER * max((len(tick.text) for tick in y_ticks), default=0)
    figures = [figure for candidate in shown if (figure := _figure(candidate, axis)) is not None]
    x_scale = scale_of(figures, left, RIGHT, may_be_log=True)
    points = [_point(candidate, report, axis, x_scale, y_scale) for candidate in shown]
    return Plot(
        title=axis['title'],
        is_objective=axis['is_objective'],
        x_title=_x_title(axis['title'], x_scale),
        y_title=_y_title(report['metric']),
        left=left,
        x_ticks=_x_ticks(x_scale),
        y_ticks=y_ticks,
        points=sorted(points, key=lambda point: point.is_chosen),
        baseline=None if baseline is None else _baseline(baseline, y_scale, left, points),
        left_out=list(_left_out(candidates, axis)),
    )


def _figure(candidate: Mapping[str, Any], axis: Mapping[str, Any]) -> float | None:
    return finite(candidate['figures'].get(axis['key']))


def _metric(candidate: Mapping[str, Any]) -> float | None:
    return finite((candidate['metric'] or {}).get('value'))


def _interval(candidate: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = (finite((candidate['metric'] or {}).get(end)) for end in ('low', 'high'))
    return None if low is None or high is None else (low, high)


def _heights(candidate: Mapping[str, Any]) -> list[float]:
    """What the axis of the metric has to hold of a candidate."""
    value = _metric(candidate)
    return [*([] if value is None else [value]), *(_interval(candidate) or ())]


def _left_out(candidates: Sequence[Mapping[str, Any]], axis: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for candidate in candidates:
        without = [
            what
            for what, value in (('metric', _metric(candidate)), ('figure', _figure(candidate, axis)))
            if value is None
        ]
        if without:
            yield candidate['route'], f'no {" and no ".join(without)}'


def _x_ticks(scale: Scale) -> list[Tick]:
    """Those of which the whole text is in the drawing."""
    found = ticks(scale, lambda text: _LETTER * (len(text) + 2))
    return [tick for tick in found if tick.place + _LETTER * len(tick.text) / 2 <= WIDTH]


def _x_title(title: str, scale: Scale) -> str:
    words = ' (log scale)' if scale.is_log else ''
    return shortened(title, _LETTERS_OF_TITLE - len(words)) + words


def _y_title(metric: Mapping[str, Any]) -> str:
    name = metric['name'] + (f' of {metric["output"]}' if metric['output'] else '')
    words = f' ({"more" if metric["higher_is_better"] else "less"} is better)'
    return shortened(name, _LETTERS_OF_TITLE - len(words)) + words


def _point(
    candidate: Mapping[str, Any],
    report: Mapping[str, Any],
    axis: Mapping[str, Any],
    x_scale: Scale,
    y_scale: Scale,
) -> Point:
    figure, metric = _figure(candidate, axis), _metric(candidate)
    assert figure is not None
    assert metric is not None
    low, high = _interval(candidate) or (None, None)
    is_chosen = candidate['route'] == report['chosen']
    measured, cost, verdict = metric_text(candidate['metric']), figure_text(figure), candidate['verdict']
    whole = [
        candidate['route'] + (' (chosen)' if is_chosen else ''),
        f'{report["metric"]["name"]}: {measured}',
        f'{axis["title"]}: {cost}',
        verdict,
    ]
    return Point(
        x=x_scale.place(figure),
        y=y_scale.place(metric),
        low=None if low is None else y_scale.place(low),
        high=None if high is None else y_scale.place(high),
        verdict=verdict,
        on_front=candidate['on_front'],
        is_chosen=is_chosen,
        told=(
            shortened(candidate['route'], _LETTERS_OF_TITLE),
            shortened(f'{measured}; {cost}; {verdict}', _LETTERS_OF_TITLE),
        ),
        whole='; '.join(whole),
    )


def _baseline(value: float, scale: Scale, left: float, points: Sequence[Point]) -> Baseline:
    """The label is at that part of the line, above or below it, where it covers the fewest points."""
    y, text = scale.place(value), f'baseline {figure_text(value)}'
    width = _LETTER * len(text)
    heights = [at for at in (y - 5, y + 14) if TOP + _LETTER <= at <= BOTTOM - 3]
    rest = max(RIGHT - width - left, 0)
    spots = [
        (left + rest * part / _PARTS_OF_LINE, at) for at in heights for part in range(_PARTS_OF_LINE, -1, -1)
    ]
    label_x, label_y = min(spots, key=lambda spot: sum(_covers(spot, width, point) for point in points))
    return Baseline(y, text, label_x, label_y)


def _covers(spot: tuple[float, float], width: float, point: Point) -> bool:
    """Whether a text lies over a point or its interval; the spot is the left end of its base line."""
    x, y = spot
    ends = [point.y, *(end for end in (point.low, point.high) if end is not None)]
    return x - 5 < point.x < x + width + 5 and min(ends) < y + 9 and max(ends) > y - 15
