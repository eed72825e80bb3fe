"""The place of a record that cannot be used."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training.training_data import training_batches
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.non_finite_features import non_finite_feature
from tfx_edge.components.core.examples.outlying_features import outlying_feature
from tfx_edge.components.core.examples.record_places import first_fault
from tfx_edge.components.core.signature import TensorSpec

_PARSER = ExampleParser({'x': TensorSpec((None, 2), tf.float32)})


def _write(path: pathlib.Path, rows: Sequence[Sequence[float]]) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            example = tf.train.Example()
            example.features.feature['x'].float_list.value.extend(row)
            writer.write(example.SerializeToString())
    return str(path)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> list[str]:
    """The third record of the second file is too short."""
    good = [(1.0, 2.0)] * 5
    return [_write(tmp_path / 'a', good), _write(tmp_path / 'b', [*good[:2], (1.0,), *good])]


def test_the_first_fault_is_found_in_its_file(files: list[str]) -> None:
    error = first_fault(files, lambda record: _PARSER([record]))
    assert str(error).startswith(f"record 2 of {files[1]}: feature 'x' has the shape (1,)")
    assert first_fault(files[:1], lambda record: _PARSER([record])) is None


def test_training_names_the_place_however_records_are_shuffled(files: list[str]) -> None:
    for seed in range(3):
        with pytest.raises(EdgeError, match=f'record 2 of {files[1]}'):
            list(zip(range(9), training_batches(files, _PARSER, 4, seed), strict=False))


@pytest.mark.parametrize(('value', 'what'), [(np.nan, 'NaN'), (-np.inf, 'infinity')])
def test_what_is_not_finite_is_named_with_what_came_of_it(
    tmp_path: pathlib.Path, value: float, what: str
) -> None:
    file = _write(tmp_path / 'data', [(1.0, 2.0)] * 7 + [(value, 0.0)])
    error = non_finite_feature([file], _PARSER, 'the loss is NaN')
    assert str(error).startswith(
        f"record 7 of {file}: feature 'x' holds {what}, and the loss is NaN; expected finite"
    )


@pytest.mark.parametrize('value', [1e30, -3e38, 5e6])
def test_the_example_that_lies_far_out_is_named_with_what_came_of_it(
    tmp_path: pathlib.Path, value: float
) -> None:
    file = _write(tmp_path / 'data', [*[(1.0, 2.0)] * 5, (0.0, value), *[(0.5, -1.0)] * 7])
    error = outlying_feature([file], _PARSER, 'the loss is inf')
    assert str(error).startswith(f"record 5 of {file}: feature 'x' holds {abs(value):.3g} in magnitude, ")
    assert 'and the loss is inf; correct the example' in str(error)


@pytest.mark.parametrize(
    'rows',
    [[(1e30, 2e30)] * 9, [(1.0, 2.0)] * 8 + [(1e5, 0.0)], [(0.0, 0.0)] * 8, [(0.0, 0.0)] * 8 + [(7.0, 0.0)]],
    ids=['all large', 'within reach', 'zeros', 'one that is not zero'],
)
def test_no_example_is_blamed_where_none_lies_far_out(
    tmp_path: pathlib.Path, rows: list[tuple[float, float]]
) -> None:
    assert outlying_feature([_write(tmp_path / 'data', rows)], _PARSER, 'the loss is inf') is None
