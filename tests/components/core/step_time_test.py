"""A step that takes longer than `TFX_EDGE_STEP_SECONDS` fails in one line, or its process ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.step_time import STEP_SECONDS, limited_step_time

# Takes the first error for its own, as native code that hangs takes none; the argument says how it goes on.
STUBBORN = """
import ctypes, logging, sys, threading
from tfx_edge.components.core import step_time

logging.basicConfig()
step_time._SECONDS_TO_FAIL, step_time._SECONDS_TO_END = 0.3, 0.3
with step_time.limited_step_time():
    try:
        threading.Event().wait(60)
    except BaseException:
        sleep = ctypes.PyDLL(None).sleep if sys.argv[1] == 'native' else lambda seconds: threading.Event().wait(seconds)
        sleep(60)
"""


@limited_step_time()
def wait(seconds: float) -> str:
    threading.Event().wait(seconds)
    return 'waited'


def test_a_step_that_hangs_fails_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.setenv(STEP_SECONDS, '0.2')
    started = time.monotonic()
    with pytest.raises(
        EnvironmentFailure, match=r'^the step did not end within 0\.2 s; .*TFX_EDGE_STEP_SECONDS'
    ):
        wait(30)
    assert time.monotonic() - started < 10
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_step_within_its_time_is_not_touched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STEP_SECONDS, '0.5')
    assert wait(0) == 'waited'
    assert wait(0) == 'waited'
    threading.Event().wait(0.7)


def test_without_the_variable_or_in_another_thread_nothing_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(STEP_SECONDS, raising=False)
    assert wait(0.01) == 'waited'
    monkeypatch.setenv(STEP_SECONDS, '0.1')
    done = []
    thread = threading.Thread(target=lambda: done.append(wait(0.3)))
    thread.start()
    thread.join()
    assert done == ['waited']


@pytest.mark.parametrize('value', ['soon', '0', '-1', 'inf', 'nan'])
def test_a_limit_that_is_no_time_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STEP_SECONDS, value)
    with pytest.raises(EdgeError, match=f"TFX_EDGE_STEP_SECONDS is '{value}'; expected a number of seconds"):
        wait(0)


@pytest.mark.parametrize('kind', ['in Python', 'native'])
def test_a_step_that_does_not_stop_ends_with_its_process(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STEP_SECONDS, '0.3')
    ended = subprocess.run([sys.executable, '-c', STUBBORN, kind], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    # Where native code holds Python, the trace of the system's own watch is all that can be shown.
    expected = 'its process is ended' if kind == 'in Python' else 'Timeout ('
    assert expected in ended.stderr
    assert 'File "<string>"' in ended.stderr
