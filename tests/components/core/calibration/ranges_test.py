"""`calibration.json` is written and read."""

from __future__ import annotations

import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.calibration.ranges import read_ranges, write_ranges
from tfx_edge.components.core.errors import EdgeError

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
_RANGES = st.dictionaries(st.text(), st.tuples(_NUMBERS, _NUMBERS).map(lambda pair: tuple(sorted(pair))))


@given(ranges=_RANGES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, ranges: dict) -> None:
    path = str(tmp_path_factory.getbasetemp() / 'calibration.json')
    write_ranges(path, ranges)
    assert read_ranges(path) == ranges
    written = pathlib.Path(path).read_bytes()
    write_ranges(path, dict(reversed(ranges.items())))
    assert pathlib.Path(path).read_bytes() == written


@pytest.mark.parametrize('limits', [(1.0, 0.0), (0.0, math.inf), (math.nan, 1.0)])
def test_ranges_that_are_none_are_not_written(tmp_path: pathlib.Path, limits: tuple[float, float]) -> None:
    with pytest.raises(EdgeError, match="range of tensor 'x'"):
        write_ranges(str(tmp_path / 'calibration.json'), {'x': limits})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"format_version": 1, "tens', 'cannot be read as calibration ranges'),
        ('{"format_version": 2, "tensors": {}}', 'format_version 2'),
        ('[]', 'format_version None'),
        ('{"format_version": 1, "tensors": {"x": 3}}', 'no ranges by tensor name'),
        ('{"format_version": 1, "tensors": {"x": {"min": 2, "max": 1}}}', "range of tensor 'x'"),
    ],
)
def test_damaged_file_is_one_clear_line(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = tmp_path / 'calibration.json'
    path.write_text(text)
    with pytest.raises(EdgeError, match=message) as raised:
        read_ranges(str(path))
    assert '\n' not in str(raised.value)
    assert str(path) in str(raised.value)


def test_absent_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match='does not exist'):
        read_ranges(str(tmp_path / 'calibration.json'))
