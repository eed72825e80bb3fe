"""The float model's answers beside a calibration: the same bytes, no pickles, and damage that is reported."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tfx_edge.components.core.calibration.reference import (
    FILE_NAME,
    Reference,
    first_rows,
    read_reference,
    sample_count,
    write_reference,
)
from tfx_edge.components.core.errors import EdgeError


def _reference() -> Reference:
    rng = np.random.default_rng(0)
    return Reference(
        {'image/raw': rng.random((5, 2, 2)).astype(np.float32), 'id': np.arange(5)},
        {'p': rng.random((5, 3)).astype(np.float32), 'class': np.arange(5) % 3},
        held_out=True,
    )


def test_what_is_written_is_read(tmp_path: pathlib.Path) -> None:
    assert read_reference(str(tmp_path)) is None
    write_reference(str(tmp_path), _reference())
    with np.load(tmp_path / FILE_NAME, allow_pickle=False) as arrays:
        assert len(arrays.files) == 5
    found = read_reference(str(tmp_path))
    assert found is not None
    assert found.held_out
    assert found.samples == 5
    for side in ('inputs', 'answers'):
        expected = getattr(_reference(), side)
        assert getattr(found, side).keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(getattr(found, side)[name], values)
            assert getattr(found, side)[name].dtype == values.dtype


def test_the_same_reference_is_the_same_bytes(tmp_path: pathlib.Path) -> None:
    written = []
    for _ in range(2):
        write_reference(str(tmp_path), _reference())
        written.append((tmp_path / FILE_NAME).read_bytes())
    assert written[0] == written[1]


def test_strings_are_left_out_and_a_pickle_is_never_loaded(tmp_path: pathlib.Path) -> None:
    answers = {'p': np.ones((1, 2)), 'name': np.array([b'cat'], object)}
    write_reference(str(tmp_path), Reference({'x': np.ones((1, 2))}, answers, held_out=False))
    found = read_reference(str(tmp_path))
    assert found is not None
    assert list(found.answers) == ['p']
    np.savez(tmp_path / FILE_NAME, x=np.array([{'a': 1}], object))
    with pytest.raises(EdgeError, match=r'reference\.npz is damaged .*; run the step'):
        read_reference(str(tmp_path))


@pytest.mark.parametrize('kept', [0, 10, 300])
def test_a_truncated_file_is_named(tmp_path: pathlib.Path, kept: int) -> None:
    write_reference(str(tmp_path), _reference())
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EdgeError, match=r'reference\.npz is damaged'):
        read_reference(str(tmp_path))


def test_large_examples_are_fewer() -> None:
    assert sample_count(0) == 64
    assert sample_count(2**20) == 32
    assert sample_count(2**30) == 8
    assert len(first_rows({'x': np.zeros((100, 2**18), np.float32)})['x']) == 32
