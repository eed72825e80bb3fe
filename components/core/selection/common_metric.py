"""The metric that candidates are compared by, read off their reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.figures import is_number

# In names of metrics that are better when they are lower.
_LOW = (
    *(
        'loss',
        'error',
        'crossentropy',
        'divergence',
        'hinge',
        'poisson',
        'false',
        'mse',
        'mae',
        'mape',
        'msle',
    ),
    *('cosh', 'perplexity', 'brier', 'miss_rate', 'fall_out'),
)
# What TFMA reports that says nothing of the answers.
_COUNTS = ('example_count', 'weighted_example_count')
# Quantile of the normal distribution for 95 %.
_Z = 1.959963984540054
WILSON = 'Wilson, 1927, 95 %, of the number of examples'
_TFMA = "TFMA's, as eval_config asks for them"


@dataclasses.dataclass(frozen=True)
class MetricName:
    """A metric of one output, and which way is better."""

    name: str
    output: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """A metric over all examples, with the ends of its 95 % interval.

    Attributes:
      value: of the metric.
      low: None where there is no interval.
      high: None where there is no interval.
      interval: where it comes from, or ''.
    """

    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ''


def common_metric(
    reports: Sequence[Mapping[str, Any]], name: str = '', lower_is_better: bool | None = None
) -> MetricName | None:
    """The metric that every report has.

    Args:
      reports: `report.json` of each candidate.
      name: of the metric; '' for the first, in the order of the first report.
      lower_is_better: None to tell by the name.

    Returns:
      The metric; None where `name` is '' and the reports have none in common.

    Raises:
      EdgeError: a report lacks the one that is named.
    """
    in_all = [key for key in _overall(reports[0]) if all(key in _overall(report) for report in reports[1:])]
    if name:
        in_all = [key for key in in_all if key[0] == name]
        if not in_all:
            there = sorted({key[0] for report in reports for key in _overall(report)})
            raise EdgeError(
                f'Selection.metric is {name!r}, which not every candidate was evaluated by; give their EdgeEvaluators '
                f'the same eval_config, and name one of: {", ".join(there) or "none is there"}.'
            )
    if not in_all:
        return None
    found, output = in_all[0]
    lower = any(word in found.lower() for word in _LOW) if lower_is_better is None else lower_is_better
    return MetricName(found, output, not lower)


def value_of(
    report: Mapping[str, Any], metric: MetricName | None, model: str = 'candidate'
) -> MetricValue | None:
    """A model's metric over all examples.

    Args:
      report: `report.json`.
      metric: of `common_metric`.
      model: 'candidate' or 'baseline'.

    Returns:
      None where it was not measured, or is no finite number. The interval is TFMA's, or for an accuracy the one of a
      proportion.
    """
    row = None if metric is None else _overall(report, model).get((metric.name, metric.output))
    if metric is None or row is None or not is_number(row['value']):
        return None
    value, interval = row['value'], row.get('interval')
    if interval and all(is_number(end) for end in interval):
        return MetricValue(value, interval[0], interval[1], _TFMA)
    right = value * report['examples']
    if 'accuracy' in metric.name and 0 <= value <= 1 and abs(right - round(right)) < 1e-3:
        low, high = _wilson(value, report['examples'])
        return MetricValue(value, low, high, WILSON)
    return MetricValue(value)


def _overall(report: Mapping[str, Any], model: str = 'candidate') -> dict[tuple[str, str], Any]:
    """The scalar metrics over all examples by name and output."""
    rows = [row for entry in report['metrics'] if not entry['slice'] for row in entry['metrics']]
    return {
        (row['name'], row['output']): row
        for row in rows
        if row['model'] == model
        and not row['difference']
        and not row['sub_key']
        and row['name'] not in _COUNTS
    }


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of a proportion (Wilson, 1927)."""
    if not count:
        return 0.0, 1.0
    middle = share + _Z**2 / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    below = 1 + _Z**2 / count
    return max(0.0, (middle - spread) / below), min(1.0, (middle + spread) / below)
