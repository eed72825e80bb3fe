"""The costs of a candidate, read off EdgeEvaluator's report."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.selection.candidate import Candidate

ZIP_BYTES = 'zip_bytes'
# By objective of `proto.Selection`, those that need no device.
_OF_FILE = {
    ZIP_BYTES: 'zip bytes',
    'file_bytes': 'file bytes',
    'activation_bytes': 'bytes of activations',
}
LATENCY_RATIO = 'latency_ratio'
# The same of those that a device's tool reports.
OF_DEVICE = {
    'flash_bytes': 'flash bytes',
    'sram_bytes': 'SRAM bytes',
    'arena_bytes': 'arena bytes',
    'cycles': 'cycles',
    'milliseconds': 'milliseconds',
}


def device_key(device: str, figure: str) -> str:
    """The key of a device's figure.

    Example:
      >>> device_key('ethos-u55-128', 'cycles')
      'ethos-u55-128 cycles'
    """
    return f'{device} {figure}'


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """What a report says that a candidate costs; of all figures less is better.

    Args:
      report: EdgeEvaluator's `report.json`.

    Returns:
      By key, those that were measured and are finite.

    Example:
      >>> figures({'file': {'zip_bytes': 900, 'file_bytes': 1000}, 'latency': None, 'devices': []})
      {'zip_bytes': 900, 'file_bytes': 1000}
    """
    found: dict[str, Any] = {key: report['file'].get(key) for key in _OF_FILE}
    found[LATENCY_RATIO] = (report['latency'] or {}).get('ratio')
    for costs in report['devices']:
        for figure in OF_DEVICE:
            found[device_key(costs['device'], figure)] = costs.get(figure)
    return {key: value for key, value in found.items() if is_number(value)}


def titles(candidates: Sequence[Candidate]) -> dict[str, str]:
    """The figures that at least one candidate has, with their titles, in the order in which they are shown.

    Args:
      candidates: of a selection.

    Returns:
      By key.
    """
    reports = [candidate.report for candidate in candidates if candidate.report is not None]
    known = {**_OF_FILE, LATENCY_RATIO: 'latency, ratio to the float file'}
    for report in reports:
        for costs in report['devices']:
            known |= {
                device_key(costs['device'], figure): f'{costs["device"]}: {title}'
                for figure, title in OF_DEVICE.items()
            }
    measured = {key for report in reports for key in figures(report)}
    return {key: title for key, title in known.items() if key in measured}


def said(value: float | None) -> str:
    """A figure in words: whole numbers with their thousands set apart, others with six digits.

    Example:
      >>> said(11321), said(0.25), said(None)
      ('11,321', '0.25', 'not measured')
    """
    if value is None:
        return 'not measured'
    return f'{value:,}' if isinstance(value, int) else f'{value:.6g}'


def is_number(value: Any) -> bool:
    """Whether a value of a report is a finite number; reports have strings for NaN and infinities."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # An integer may be beyond what a float can be.
    return abs(value) <= sys.float_info.max and not math.isnan(value)
