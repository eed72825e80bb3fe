"""What `selection.json` says."""

from __future__ import annotations

import json

from tests.components.core.selection.reports import ACCURACY, absent, candidate
from tfx_edge.components.core.selection.choice import Aim, choose
from tfx_edge.components.core.selection.common_metric import WILSON, common_metric
from tfx_edge.components.core.selection.selection_report import make_report, to_json


def _report(*candidates, **aim):
    metric = common_metric([c.report for c in candidates if c.report is not None])
    aim = Aim(**{'metric': metric, **aim})
    return make_report(candidates, choose(candidates, aim), aim)


def test_every_candidate_stands_with_its_figures_and_outcome():
    devices = [{'device': 'tflite-micro', 'flash_bytes': 700, 'arena_bytes': None}]
    report = _report(
        candidate('int8', devices=devices), candidate('int16', 0.95, 1200), absent('lost', 'why')
    )
    assert (report['verdict'], report['chosen'], report['examples']) == ('BLESSED', 'int8', 100)
    assert [axis['key'] for axis in report['axes']] == [
        'zip_bytes',
        'file_bytes',
        'activation_bytes',
        'tflite-micro flash_bytes',
    ]
    assert [axis['is_objective'] for axis in report['axes']] == [True, False, False, False]
    first, second, third = report['candidates']
    assert first['figures'] == {
        'zip_bytes': 1000,
        'file_bytes': 2000,
        'activation_bytes': 300,
        'tflite-micro flash_bytes': 700,
    }
    assert second['figures']['tflite-micro flash_bytes'] is None
    assert (third['verdict'], third['reasons'], third['outcome']) == (
        'NO_EVALUATION',
        ['why'],
        'did not arrive',
    )
    assert [row['on_front'] for row in report['candidates']] == [True, True, False]
    assert report['notes'] == ['1 of 3 candidates did not arrive: lost; the choice is among the others']


def test_the_metric_stands_with_its_interval_and_the_baselines():
    part = _report(candidate('int8'))['metric']
    assert (part['name'], part['higher_is_better'], part['interval']) == (ACCURACY, True, WILSON)
    assert part['baseline']['value'] == 0.95


def test_different_numbers_of_examples_are_noted():
    report = _report(candidate('a'), candidate('b', examples=1200))
    assert report['notes'] == ['the candidates were evaluated on different numbers of examples: 100, 1,200']


def test_without_a_common_metric_the_report_has_none():
    report = _report(candidate('a', metrics=[]), candidate('b', zip_bytes=10))
    assert report['metric'] is None
    assert report['chosen'] == 'b'


def test_the_text_is_strict_json_and_the_same_for_the_same_report():
    report = _report(candidate('a', float('nan')), candidate('b', 'inf', 500))
    assert json.loads(to_json(report)) == json.loads(to_json(json.loads(to_json(report))))
