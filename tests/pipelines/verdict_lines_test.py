"""The lines of a report, whatever it holds."""

from __future__ import annotations

from typing import Any

from tfx_edge.pipelines.verdict_lines import verdict_lines

_METRIC = {'name': 'accuracy', 'model': 'candidate', 'difference': False, 'value': 0.98333}
_GATE = {'name': 'max_zip_bytes', 'measured': 11330, 'limit': 32768.0}


def _report(**changed: Any) -> dict[str, Any]:
    report = {
        'verdict': 'BLESSED',
        'reasons': [],
        'examples': 359,
        'metrics': [{'slice': [], 'metrics': [_METRIC]}],
        'gates': [_GATE],
    }
    return {**report, **changed}


def test_blessed_model_has_its_metrics_and_gates() -> None:
    assert verdict_lines(_report()) == [
        'verdict: BLESSED',
        '  accuracy: 0.9833 over 359 examples',
        '  max_zip_bytes: 11330, limit 32768',
    ]


def test_reasons_come_in_their_place() -> None:
    assert verdict_lines(_report(verdict='NOT_BLESSED', reasons=['too large'])) == [
        'verdict: NOT_BLESSED',
        '  too large',
    ]


def test_what_was_not_measured_or_is_not_finite_is_said() -> None:
    metrics = [{'slice': [], 'metrics': [{**_METRIC, 'value': 'nan'}]}]
    gates = [{**_GATE, 'measured': None}]
    assert verdict_lines(_report(metrics=metrics, gates=gates))[1:] == [
        '  accuracy: nan over 359 examples',
        '  max_zip_bytes: not measured, limit 32768',
    ]


def test_evaluation_of_slices_alone_has_no_metrics_over_all_examples() -> None:
    metrics = [{'slice': [['country', 'x']], 'metrics': [_METRIC]}]
    assert verdict_lines(_report(metrics=metrics))[1:] == ['  max_zip_bytes: 11330, limit 32768']
