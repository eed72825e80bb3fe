"""One line for any error."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.failure import CommandError, one_line


def raised(outer: Exception, cause: Exception) -> Exception:
    """An error as it is after `raise outer from cause`."""
    outer.__cause__ = cause
    return outer


def test_edge_error_says_its_message() -> None:
    assert one_line(EdgeError('split is empty; name another.')) == 'split is empty; name another.'


def test_edge_error_below_other_errors_has_the_say() -> None:
    error = raised(RuntimeError('step failed'), raised(ValueError('x'), EdgeError('name another split.')))
    assert one_line(error) == 'name another split.'


def test_edge_error_that_was_being_handled_has_the_say() -> None:
    error = RuntimeError('clean-up failed')
    error.__context__ = EdgeError('name another split.')
    assert one_line(error) == 'name another split.'


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (KeyError('image'), "KeyError: 'image'"),
        (RuntimeError('first\n\n  last  \n'), 'RuntimeError: last'),
        (RuntimeError(), 'RuntimeError'),
        (EdgeError('two\nlines'), 'two lines'),
        (CommandError('what failed', 'run.log'), 'what failed'),
    ],
)
def test_error_becomes_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_errors_that_cause_each_other_end() -> None:
    first, second = RuntimeError('first'), RuntimeError('second')
    first.__cause__, second.__cause__ = second, first
    assert one_line(first) == 'RuntimeError: first'
