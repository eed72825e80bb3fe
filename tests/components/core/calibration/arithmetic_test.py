"""`arithmetic.json`: written, read, and refused when damaged."""

from __future__ import annotations

import pathlib

import pytest

from tfx_edge.components.core.calibration.arithmetic import (
    FILE_NAME,
    TrainedArithmetic,
    read_arithmetic,
    write_arithmetic,
)
from tfx_edge.components.core.errors import EdgeError


def test_what_is_written_is_read(tmp_path: pathlib.Path) -> None:
    arithmetic = TrainedArithmetic(16, ('^dense/MatMul$',), {'b/kernel': 8, 'a/kernel': 4})
    write_arithmetic(str(tmp_path), arithmetic)
    assert read_arithmetic(str(tmp_path)) == arithmetic


def test_a_calibration_without_training_has_none(tmp_path: pathlib.Path) -> None:
    assert read_arithmetic(str(tmp_path)) is None


@pytest.mark.parametrize(
    'content',
    [
        '',
        '[]',
        '{}',
        '{"format_version": 2}',
        '{"format_version": 1, "activation_bits": 8, "keep_float": ["("]}',
    ],
)
def test_damage_is_raised_in_one_line(tmp_path: pathlib.Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(EdgeError, match='cannot be read as the arithmetic of a trained model') as caught:
        read_arithmetic(str(tmp_path))
    assert '\n' not in str(caught.value)
