"""The figures of `steps_bench.py` as one SVG: a row for each technique, a column for each data set.

It is 400 units wide, so that a telephone shows its words at the size of a page's. The same figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _GAP, _RIGHT = 400, 34, 40, 10
_HEAD, _PANEL, _BELOW, _BETWEEN = 58, 118, 18, 32
_SIDES = {'tfx-edge': ('#0b5fad', ''), 'toolkit': ('#b8450f', '5 3')}
_GREY, _LIGHT = '#555', '#ddd'
# Between the lines of a panel's axis, in points of accuracy.
_TICKS = (0.5, 1, 2, 5, 10, 20, 25)


def steps_svg(figures: Mapping[str, Any]) -> str:
    """Draws accuracy over steps.

    Args:
      figures: what `steps_bench.py` writes as JSON.

    Returns:
      The SVG's text.
    """
    datasets, techniques = (
        list(figures['float']),
        list(dict.fromkeys(r['technique'] for r in figures['runs'])),
    )
    row = _PANEL + _BELOW + _BETWEEN
    height = _HEAD + len(techniques) * row
    width = (_WIDTH - _LEFT - _RIGHT - (len(datasets) - 1) * _GAP) / len(datasets)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" role="img">',
        '<title>Accuracy of the int8 file over the steps of training</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        *_legend(len(figures['seeds'])),
    ]
    for number, technique in enumerate(techniques):
        for column, dataset in enumerate(datasets):
            runs = [r for r in figures['runs'] if (r['technique'], r['dataset']) == (technique, dataset)]
            panel = _Panel(
                _LEFT + column * (width + _GAP),
                _HEAD + number * row + 16,
                width,
                runs,
                figures['float'][dataset],
            )
            parts += panel.drawn(f'{dataset}: {technique}')
    return '\n'.join([*parts, '</svg>', ''])


def _legend(seeds: int) -> list[str]:
    parts = [_text(8, 16, 'Accuracy of the int8 file (%) over steps of training', weight='bold')]
    x = 8.0
    for side, (colour, dashes) in _SIDES.items():
        parts += [_line([(x, 34), (x + 26, 34)], colour, dashes), _text(x + 30, 38, side)]
        x += 92
    parts += [_line([(x, 34), (x + 26, 34)], _GREY, '1 3'), _text(x + 30, 38, 'float')]
    return [*parts, _text(x + 72, 38, f'mean of {seeds} seed{"s" if seeds > 1 else ""}')]


class _Panel:
    """One technique on one data set; `x` and `y` are those of its upper left corner."""

    def __init__(
        self, x: float, y: float, width: float, runs: Sequence[Mapping[str, Any]], floats: float
    ) -> None:
        self._x, self._y, self._width = x, y, width
        self._runs, self._float = runs, 100 * floats
        self._steps = sorted({run['steps'] for run in runs})
        values = [100 * accuracy for run in runs for accuracy in run['accuracies']] + [self._float]
        spread = max(values) - min(values)
        self._tick = next((tick for tick in _TICKS if spread <= 4 * tick), _TICKS[-1])
        self._low = self._tick * math.floor(min(values) / self._tick)
        self._high = max(self._tick * math.ceil(max(values) / self._tick), self._low + self._tick)

    def drawn(self, title: str) -> list[str]:
        """The panel's parts."""
        parts = [_text(self._x - 28, self._y - 12, title, weight='bold')]
        for number in range(round((self._high - self._low) / self._tick) + 1):
            value = self._low + number * self._tick
            y = self._to_y(value)
            parts.append(_line([(self._x, y), (self._x + self._width, y)], _LIGHT, width=1))
            parts.append(_text(self._x - 4, y + 4, f'{value:g}', anchor='end', colour=_GREY))
        for steps in self._steps:
            parts.append(
                _text(self._to_x(steps), self._y + _PANEL + 14, f'{steps}', anchor='middle', colour=_GREY)
            )
        y = self._to_y(self._float)
        parts.append(_line([(self._x, y), (self._x + self._width, y)], _GREY, '1 3'))
        for side, (colour, dashes) in _SIDES.items():
            parts += self._curve([run for run in self._runs if run['side'] == side], colour, dashes)
        return parts

    def _curve(self, runs: Sequence[Mapping[str, Any]], colour: str, dashes: str) -> list[str]:
        runs = sorted(runs, key=lambda run: run['steps'])
        seeds = [(run['steps'], 100 * accuracy) for run in runs for accuracy in run['accuracies']]
        means = [(self._to_x(run['steps']), self._to_y(100 * run['mean'])) for run in runs]
        return [
            *(_dot(self._to_x(steps), self._to_y(value), 1.5, colour, 0.45) for steps, value in seeds),
            _line(means, colour, dashes),
            *(_dot(x, y, 2.8, colour, 1) for x, y in means),
        ]

    def _to_x(self, steps: int) -> float:
        """Steps on a logarithmic axis, with room for the numbers at both ends."""
        first, last = math.log(self._steps[0]), math.log(self._steps[-1])
        share = (math.log(steps) - first) / (last - first) if last > first else 0.5
        return self._x + 12 + share * (self._width - 26)

    def _to_y(self, value: float) -> float:
        return self._y + _PANEL * (self._high - value) / (self._high - self._low)


def _line(points: Sequence[tuple[float, float]], colour: str, dashes: str = '', width: float = 2) -> str:
    listed = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ''
    return f'<polyline points="{listed}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def _dot(x: float, y: float, radius: float, colour: str, opacity: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}" opacity="{opacity:g}"/>'


def _text(
    x: float, y: float, words: str, *, anchor: str = 'start', weight: str = 'normal', colour: str = '#111'
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f'{escape(words)}</text>'
    )
