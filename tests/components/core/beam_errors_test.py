"""Errors of Beam workers surface as the one line they were raised with."""

from __future__ import annotations

import apache_beam as beam
import pytest

from tfx_edge.components.core.beam_errors import raised_in_one_line
from tfx_edge.components.core.errors import EdgeError

MESSAGE = "feature 'image' is missing [found: none]; give it."


def _raise(kind: type[Exception]) -> None:
    raise kind(MESSAGE)


@pytest.mark.parametrize('mode', ['in_memory', 'multi_threading'])
def test_edge_error_keeps_its_type_and_its_one_line(mode):
    args = ['--runner=FnApiRunner', f'--direct_running_mode={mode}', '--direct_num_workers=2']
    with pytest.raises(EdgeError) as caught, raised_in_one_line(), beam.Pipeline(argv=args) as pipeline:
        _ = pipeline | beam.Create([EdgeError]) | 'Bad' >> beam.Map(_raise)
    assert str(caught.value) == MESSAGE


def test_a_traceback_sent_as_text_is_read():
    text = (
        'Traceback (most recent call last):\n  File "x.py", line 1, in f\n'
        f'tfx_edge.components.core.errors.EdgeError: {MESSAGE}\n\nDuring handling ...\n'
        f"tfx_edge.components.core.errors.EdgeError: {MESSAGE} [while running 'A/Bad'] [while running 'B']\n\n"
    )
    with pytest.raises(EdgeError) as caught, raised_in_one_line():
        raise RuntimeError(text)
    assert str(caught.value) == MESSAGE


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), raised_in_one_line():
        _ = 1 / 0
