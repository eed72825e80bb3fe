"""Candidates with reports such as EdgeEvaluator's, for tests of the choice among them."""

from __future__ import annotations

from typing import Any

from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.route import Route

ACCURACY = 'sparse_categorical_accuracy'


def metric(name: str, value: Any, model: str = 'candidate', **changes: Any) -> dict[str, Any]:
    """A row of the metrics in a report."""
    row = {'name': name, 'model': model, 'output': '', 'sub_key': '', 'difference': False, 'value': value}
    return {**row, **changes}


def report(
    accuracy: Any = 0.9,
    zip_bytes: int = 1000,
    *,
    reasons: tuple[str, ...] = (),
    gates: tuple[dict[str, Any], ...] = (),
    metrics: list[dict[str, Any]] | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """What the choice reads of a report.json."""
    rows = [metric('example_count', 100.0), metric(ACCURACY, accuracy), metric(ACCURACY, 0.95, 'baseline')]
    return {
        'format_version': 1,
        'verdict': 'NOT_BLESSED' if reasons else 'BLESSED',
        'reasons': list(reasons),
        'gates': list(gates),
        'examples': 100,
        'metrics': [{'slice': [], 'metrics': rows if metrics is None else metrics}],
        'file': {'zip_bytes': zip_bytes, 'file_bytes': 2 * zip_bytes, 'activation_bytes': 300},
        'latency': None,
        'devices': [],
        'weights': {'kernels': []},
        **parts,
    }


def candidate(name: str, *arguments: Any, **parts: Any) -> Candidate:
    """One with such a report."""
    return Candidate(Route(name, tuple(name.split('-'))), report(*arguments, **parts), f'{name}/report.json')


def absent(name: str, *missing: str) -> Candidate:
    """One that did not arrive."""
    return Candidate(Route(name), missing=missing)
