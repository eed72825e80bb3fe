"""What a report comes to: two numbers, how far limits are missed, and a line."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Aim
from tfx_edge.components.core.selection.common_metric import MetricName
from tfx_edge.components.core.selection.route import Route
from tfx_edge.pipelines.search.finding import finding, told

ACCURACY = MetricName('accuracy', '', True)
LOSS = MetricName('loss', '', False)


def candidate(gates=(), reasons=(), accuracy=0.9723, zip_bytes=11_321) -> Candidate:
    metrics = [
        {
            'name': name,
            'output': '',
            'model': 'candidate',
            'difference': False,
            'sub_key': None,
            'value': value,
        }
        for name, value in {'accuracy': accuracy, 'loss': 0.25}.items()
    ]
    return Candidate(
        Route('int8'),
        {
            'verdict': 'NOT_BLESSED' if reasons else 'BLESSED',
            'reasons': list(reasons),
            'gates': list(gates),
            'examples': 359,
            'file': {'zip_bytes': zip_bytes, 'file_bytes': 2 * zip_bytes},
            'latency': None,
            'devices': [],
            'metrics': [{'slice': [], 'metrics': metrics}],
        },
    )


def gate(name: str, measured, limit, holds: bool):
    return {'name': name, 'measured': measured, 'limit': limit, 'holds': holds}


def test_of_both_numbers_less_is_better():
    found = finding(candidate(), Aim(metric=ACCURACY))
    assert (found.figure, found.loss) == (11_321, -0.9723)
    assert finding(candidate(), Aim('file_bytes', 'file bytes', metric=LOSS)).loss == 0.25
    assert finding(candidate(), Aim()).loss == 0


def test_what_was_not_measured_is_no_number():
    assert finding(candidate(), Aim('web cycles', 'cycles', metric=ACCURACY)).figure is None
    assert finding(candidate(accuracy='NaN'), Aim(metric=ACCURACY)).loss is None


def test_missed_limits_are_counted_and_measured():
    gates = [
        gate('max_zip_bytes', 1500, 1000, False),
        gate('max_metric_drop', None, 0.1, False),
        gate('min_agreement', 0.99, 0.95, True),
    ]
    found = finding(candidate(gates, ['a', 'b', 'a threshold']), Aim())
    assert found.missed == {'limits': 3, 'max_zip_bytes': 0.5, 'max_metric_drop': 1e6}
    assert finding(candidate(), Aim()).missed == {'limits': 0}


@pytest.mark.parametrize(
    ('given', 'aim', 'line'),
    [
        ({}, Aim(metric=ACCURACY), 'accuracy 97.2 %, zip bytes 11,321, holds all'),
        ({'reasons': ['a']}, Aim(metric=LOSS), 'loss 0.25, zip bytes 11,321, misses 1 limit'),
        ({}, Aim('web cycles', 'web: cycles'), 'web: cycles not measured, holds all'),
        ({'accuracy': 'NaN'}, Aim(metric=ACCURACY), 'accuracy not measured, zip bytes 11,321, holds all'),
    ],
)
def test_a_line_names_metric_and_figure_and_whether_limits_hold(given, aim, line):
    assert told(candidate(**given), aim) == line
