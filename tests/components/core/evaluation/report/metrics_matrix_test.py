"""The matrix of metrics: the weakest slice first, every value in its place, and one axis for each column."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.report.metrics_matrix import Cell, metrics_matrix

NUMBERS = st.floats(-1e3, 1e3) | st.sampled_from(['nan', 'inf'])


def value(name: str, model: str, number: Any, *, difference: bool = False, **more: Any) -> dict[str, Any]:
    metric = {'name': name, 'model': model, 'output': '', 'sub_key': '', 'value': number, **more}
    return {**metric, 'difference': difference}


def compared(name: str, baseline: float, candidate: float) -> list[dict[str, Any]]:
    change = candidate - baseline
    return [
        value(name, 'baseline', baseline),
        value(name, 'candidate', candidate),
        value(name, 'candidate', change, difference=True),
    ]


def by_country(**metrics: list[dict[str, Any]]) -> dict[str, Any]:
    slices = [{'slice': [['country', name]], 'metrics': rows} for name, rows in metrics.items()]
    return {'metrics': slices}


def order(report: dict[str, Any]) -> list[str]:
    return [row.slice[0][1] for row in metrics_matrix(report).rows]


def test_the_slice_that_lost_most_comes_first() -> None:
    report = by_country(
        de=compared('accuracy', 0.5, 0.5),
        fr=compared('accuracy', 0.9, 0.7),
        us=compared('accuracy', 0.9, 0.8),
    )
    assert order(report) == ['fr', 'us', 'de']


def test_a_loss_that_rises_is_one() -> None:
    name = 'sparse_categorical_crossentropy'
    report = by_country(de=compared(name, 0.5, 0.4), fr=compared(name, 0.5, 0.9), us=compared(name, 0.5, 0.5))
    assert order(report) == ['fr', 'us', 'de']


def test_without_a_change_the_worst_values_come_first_whatever_counts_say() -> None:
    report = by_country(
        de=[value('auc', 'candidate', 0.9), value('example_count', 'candidate', 1000.0)],
        fr=[value('auc', 'candidate', 0.7), value('example_count', 'candidate', 10.0)],
        us=[value('auc', 'candidate', 0.8), value('example_count', 'candidate', 5.0)],
    )
    assert order(report) == ['fr', 'us', 'de']


def test_all_examples_stand_apart() -> None:
    report = by_country(de=compared('accuracy', 0.5, 0.4))
    assert metrics_matrix(report).whole is None
    report['metrics'].append({'slice': [], 'metrics': compared('accuracy', 0.6, 0.5)})
    matrix = metrics_matrix(report)
    assert order(report) == ['de']
    assert matrix.whole is not None
    assert matrix.whole.cells[0].candidate == 0.5


def test_the_interval_of_a_test_is_that_of_the_change() -> None:
    report = by_country(
        de=[*compared('sparse_accuracy', 0.5, 0.4), *compared('mean_absolute_error', 1.0, 1.5)]
    )
    tests = [('SparseAccuracy', 0.08, 0.13), ('MeanAbsoluteError', 0.4, 0.7)]
    report['non_inferiority'] = {
        'tests': [
            {
                'metric': name,
                'output': '',
                'slice': [['country', 'de']],
                'test': {'lower': low, 'upper': high},
            }
            for name, low, high in tests
        ]
    }
    error, accuracy = metrics_matrix(report).rows[0].cells
    assert (accuracy.change, accuracy.drawn_interval) == (pytest.approx(-0.1), (-0.13, -0.08))
    assert (error.change, error.drawn_interval) == (0.5, (0.4, 0.7))


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_every_number_lies_on_its_columns_axis(rows: list[tuple[Any, Any, Any]]) -> None:
    report = by_country(
        **{
            f'c{n}': [value('accuracy', 'candidate', middle, interval=[low, high])]
            for n, (low, middle, high) in enumerate(rows)
        }
    )
    matrix = metrics_matrix(report)
    assert len(matrix.rows) == len(rows)
    (column,) = matrix.columns
    cells: list[Cell] = [row.cells[0] for row in matrix.rows]
    drawn = [end for cell in cells for end in (cell.drawn, *(cell.drawn_interval or ())) if end is not None]
    assert all(column.left <= end <= column.left + (column.width or 0) + 1e-9 for end in drawn)
    assert (column.width is None) == (len(set(drawn)) < 2)
