"""One line for any error."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
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
        (EnvironmentFailure('the disk is full'), 'the disk is full'),
        (RuntimeError('word ' * 10**5), 'RuntimeError: ... ' + ('word ' * 60).strip()),
        (RuntimeError('x' * 10**6), 'RuntimeError: ... ' + 'x' * 300),
        (SystemExit(0), 'a module of the pipeline ended the process (sys.exit(0)); let it return or raise.'),
        (MemoryError(), 'MemoryError; give the step more memory, or use a smaller model.'),
    ],
)
def test_error_becomes_one_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line


def test_a_full_disk_is_found_in_a_long_message_and_has_its_remedy() -> None:
    line = one_line(RuntimeError('pip failed\nOSError: [Errno 28] No space left on device\n' + 'x' * 10**6))
    assert line.startswith('RuntimeError: No space left on device; free space on the disk of ')


def test_errors_that_cause_each_other_end() -> None:
    first, second = RuntimeError('first'), RuntimeError('second')
    first.__cause__, second.__cause__ = second, first
    assert one_line(first) == 'RuntimeError: first'
