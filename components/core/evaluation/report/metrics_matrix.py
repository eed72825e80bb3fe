"""The metrics of a report as a matrix: a row for each slice, the weakest first, and a column for each metric."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Words in the names of metrics of which less, or more, is better; others say nothing of how weak a slice is.
_LESS = frozenset(['crossentropy', 'divergence', 'entropy', 'error', 'hinge', 'log1p', 'loss', 'poisson'])
_MORE = frozenset(
    ['accuracy', 'auc', 'f1', 'iou', 'ndcg', 'precision', 'recall', 'similarity', 'specificity']
)

_Key = tuple[str, str, str]
_Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One metric on one slice; None where it was not measured.

    Attributes:
      candidate: its value.
      baseline: the baseline's.
      change: candidate minus baseline.
      interval: TFMA's, of the change; of the candidate where there is no baseline.
      tested: the interval of the change that a test of `max_metric_drop` found.
      others: values of other models, by their names.
    """

    candidate: Any = None
    baseline: Any = None
    change: Any = None
    interval: tuple[Any, Any] | None = None
    tested: _Interval | None = None
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def drawn(self) -> float | None:
        """What the drawing is of: the change, or the candidate where there is none; None if it is no number."""
        return _finite(self.candidate if self.change is None else self.change)

    @property
    def drawn_interval(self) -> _Interval | None:
        """What is drawn around it."""
        if self.interval is None:
            return self.tested
        low, high = map(_finite, self.interval)
        return None if low is None or high is None else (low, high)


@dataclasses.dataclass(frozen=True)
class Column:
    """A metric, and the axis on which it is drawn in every row.

    Attributes:
      name: TFMA's.
      output: '' for the only one.
      sub_key: a class, or how classes were averaged; ''.
      left: the least value of the axis.
      width: of the axis, above 0; None where nothing can be drawn.
      is_change: whether changes are drawn.
    """

    name: str
    output: str
    sub_key: str
    left: float
    width: float | None
    is_change: bool


@dataclasses.dataclass(frozen=True)
class Row:
    """A slice; [] is all examples."""

    slice: Sequence[Any]
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """All metrics.

    Attributes:
      columns: in order of their names.
      rows: of the slices, the weakest first.
      whole: of all examples; None where they are no slice of the configuration.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    whole: Row | None


def metrics_matrix(report: Mapping[str, Any]) -> Matrix:
    """Arranges the metrics of a report.

    A slice is the weaker the more its metrics change for the worse, each in parts of the largest change in its column;
    where nothing changes, or there is no baseline, the worse its values are, from the best to the worst of the column.
    What is better is read off the words of a metric's name.

    Args:
      report: of `make_report`.

    Returns:
      The matrix.

    Example:
      >>> metrics_matrix({'metrics': []})
      Matrix(columns=(), rows=(), whole=None)
    """
    keys = sorted({_key(metric) for part in report['metrics'] for metric in part['metrics']})
    tested = _tested(report)
    rows = [
        Row(
            part['slice'],
            tuple(_cell(part, key, tested.get(_tested_key(part['slice'], key))) for key in keys),
        )
        for part in report['metrics']
    ]
    columns = tuple(_column(key, [row.cells[n] for row in rows]) for n, key in enumerate(keys))
    slices = [row for row in rows if row.slice]
    changes, values = (_weakness(columns, slices, of_change=of_change) for of_change in (True, False))
    order = sorted(range(len(slices)), key=lambda n: (-changes[n], -values[n]))
    whole = next((row for row in rows if not row.slice), None)
    return Matrix(columns, tuple(slices[n] for n in order), whole)


def _key(metric: Mapping[str, Any]) -> _Key:
    return metric['name'], metric['output'], metric['sub_key']


def _cell(part: Mapping[str, Any], key: _Key, tested: _Interval | None) -> Cell:
    own = [metric for metric in part['metrics'] if _key(metric) == key]
    change = next((metric for metric in own if metric['difference']), None)
    models = {metric['model']: metric for metric in own if not metric['difference']}
    candidate = models.pop('candidate', {})
    baseline = models.pop('baseline', {})
    return Cell(
        candidate.get('value'),
        baseline.get('value'),
        None if change is None else change['value'],
        (candidate if change is None else change).get('interval'),
        None if change is None else tested,
        {name: metric['value'] for name, metric in models.items()},
    )


def _column(key: _Key, cells: Sequence[Cell]) -> Column:
    values = [cell.drawn for cell in cells if cell.drawn is not None]
    is_change = any(cell.change is not None for cell in cells)
    ends = [*values, *(end for cell in cells for end in cell.drawn_interval or ())]
    if is_change:
        ends.append(0.0)
    low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)
    return Column(*key, low, high - low if high > low else None, is_change)


def _tested(report: Mapping[str, Any]) -> dict[Any, _Interval]:
    """Intervals of changes that tests of `max_metric_drop` found, by slice and metric."""
    tests = (report.get('non_inferiority') or {}).get('tests', ())
    found = {}
    for entry in tests:
        if entry['slice'] is not None and entry['test'] is not None:
            low, high = entry['test']['lower'], entry['test']['upper']
            is_loss = _direction(entry['metric']) < 0
            key = _tested_key(entry['slice'], (entry['metric'], entry['output'], ''))
            found[key] = (low, high) if is_loss else (-high, -low)
    return found


def _tested_key(slice_: Sequence[Any], key: _Key) -> Any:
    """A class name and TFMA's name of the metric differ in case and underscores."""
    name, output, sub_key = key
    return tuple(map(tuple, slice_)), name.replace('_', '').lower(), output, sub_key


def _direction(name: str) -> int:
    """1 where more of a metric is better, -1 where less is, 0 where its name does not say."""
    words = {word.lower() for word in re.findall(r'[A-Z]*[a-z0-9]+|[A-Z]+', name)}
    return -1 if words & _LESS else 1 if words & _MORE else 0


def _weakness(columns: Sequence[Column], rows: Sequence[Row], *, of_change: bool) -> list[float]:
    """How weak each slice is: the mean over the metrics whose names say what is better."""
    weakness = [0.0] * len(rows)
    directed = [(n, _direction(column.name)) for n, column in enumerate(columns) if _direction(column.name)]
    for n, direction in directed:
        cells = [row.cells[n] for row in rows]
        values = [_finite(cell.change if of_change else cell.candidate) for cell in cells]
        known = [-direction * value for value in values if value is not None]
        best = 0.0 if of_change else min(known, default=0.0)
        scale = max((abs(value - best) for value in known), default=0.0)
        for place, value in enumerate(values):
            if value is not None and scale:
                weakness[place] += (-direction * value - best) / scale / len(directed)
    return weakness


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None
