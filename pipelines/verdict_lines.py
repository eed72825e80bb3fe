"""What a report says in a few lines: the verdict, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdict_lines(report: Mapping[str, Any]) -> list[str]:
    """The verdict of an EdgeEvaluator, and why; where it blessed the model, its metrics and the gates that it passed.

    Args:
      report: what `report.json` holds.

    Example:
      ```
      verdict_lines(report)
      # ['verdict: BLESSED', '  SparseCategoricalAccuracy: 0.9833 over 359 images', ...]
      ```
    """
    return [f'verdict: {report["verdict"]}', *(f'  {line}' for line in report['reasons'] or _held(report))]


def choice_lines(report: Mapping[str, Any]) -> list[str]:
    """The verdict of an EdgeSelector, its choice, and why.

    Args:
      report: what `selection.json` holds.

    Example:
      ```
      choice_lines(report)
      # ['verdict: BLESSED', 'chosen: pruned/int8: ...']
      ```
    """
    (chosen,) = (row for row in report['candidates'] if row['route'] == report['chosen'])
    return [
        f'verdict: {report["verdict"]}',
        f'chosen: {report["chosen"]}: {report["reason"]}',
        *(f'  {line}' for line in chosen['reasons']),
        *(f'note: {note}' for note in report['notes']),
    ]


def _held(report: Mapping[str, Any]) -> list[str]:
    """What speaks for a blessed model: its metrics over all examples, where there are such, and the gates."""
    overall = next((entry['metrics'] for entry in report['metrics'] if not entry['slice']), ())
    lines = []
    for metric in overall:
        if metric['name'] != 'example_count' and metric['model'] == 'candidate':
            what = (
                'change from the float model'
                if metric['difference']
                else f'over {report["examples"]} examples'
            )
            lines.append(f'{metric["name"]}: {_shown(metric["value"], 4)} {what}')
    return lines + [
        f'{gate["name"]}: {_shown(gate["measured"], 6)}, limit {_shown(gate["limit"], 6)}'
        for gate in report['gates']
    ]


def _shown(value: float | str | None, digits: int) -> str:
    """A number of a report; what is not finite is a text there, and what was not measured is null."""
    if value is None:
        return 'not measured'
    return value if isinstance(value, str) else f'{value:.{digits}g}'
