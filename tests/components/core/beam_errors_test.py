"""Errors of Beam workers surface as the one line they were raised with."""

from __future__ import annotations

import apache_beam as beam
import pytest

from tfx_edge.components.core.beam_errors import raised_in_one_line
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

MESSAGE = "feature 'image' is missing [found: none]; give it."


def _raise(kind: type[Exception]) -> None:
    raise kind(MESSAGE)


@pytest.mark.parametrize(
    ('kind', 'mode'),
    [(EdgeError, 'in_memory'), (EdgeError, 'multi_threading'), (EnvironmentFailure, 'in_memory')],
)
def test_error_keeps_its_type_and_its_one_line(kind, mode):
    args = ['--runner=FnApiRunner', f'--direct_running_mode={mode}', '--direct_num_workers=2']
    with pytest.raises(kind) as caught, raised_in_one_line(), beam.Pipeline(argv=args) as pipeline:
        _ = pipeline | beam.Create([kind]) | 'Bad' >> beam.Map(_raise)
    assert str(caught.value) == MESSAGE


@pytest.mark.parametrize('kind', [EdgeError, EnvironmentFailure])
def test_a_traceback_sent_as_text_is_read(kind):
    name = f'{kind.__module__}.{kind.__name__}'
    text = (
        'Traceback (most recent call last):\n  File "x.py", line 1, in f\n'
        f'{name}: {MESSAGE}\n\nDuring handling ...\n'
        f"{name}: {MESSAGE} [while running 'A/Bad'] [while running 'B']\n\n"
    )
    with pytest.raises(kind) as caught, raised_in_one_line():
        raise RuntimeError(text)
    assert str(caught.value) == MESSAGE


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), raised_in_one_line():
        _ = 1 / 0
