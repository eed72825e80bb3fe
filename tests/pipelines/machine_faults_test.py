"""Which errors of a step end a run that could go on without the step."""

from __future__ import annotations

import pytest

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.pipelines.machine_faults import is_of_the_machine

pytestmark = pytest.mark.slow


def caused_by(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (EdgeError('no weights'), False),
        (ValueError('of a user'), False),
        (EnvironmentFailure('a process was killed'), True),
        (MemoryError(), True),
        # The first of both that is found says what it is.
        (caused_by(EdgeError('the file is damaged'), EnvironmentFailure('killed')), False),
        # A signal that came while a library ran a function.
        (caused_by(RuntimeError('a bundle failed'), KeyboardInterrupt()), True),
        (RuntimeError("KeyboardInterrupt [while running 'read']"), True),
        (RuntimeError("tfx_edge.pipelines.cli._Terminated [while running 'read']"), True),
        (RuntimeError('the net is called NotTerminated'), False),
    ],
)
def test_a_fault_of_the_machine_and_a_signal_are_told_from_one_of_the_step(error, expected):
    assert is_of_the_machine(error) is expected
