"""Runs a function of tfx-edge in a process of its own.

Native code can end its process (an abort or a segmentation fault that no `except` sees) and leaks memory with each
call: here it ends only a child, whose memory is freed. A server forks the children (`process_server`), so that
TensorFlow is imported once for all of them; it is started by the first call and ends with this process. A user's
script needs no `if __name__ == '__main__'`.

A process that neither logs nor ends for an hour, or for the seconds in `TFX_EDGE_PROCESS_SECONDS`, is ended.

`TFX_EDGE_FRESH_PROCESSES=1` starts a fresh interpreter for each call instead, with the same results.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, ParamSpec, TypeVar

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.exhausted_machine import find_exhausted, remedy_of_machine
from tfx_edge.components.core.isolation import isolated_call, server_handle
from tfx_edge.components.core.isolation.printed_line import shortened_line

FRESH_PROCESSES = 'TFX_EDGE_FRESH_PROCESSES'
PROCESS_SECONDS = 'TFX_EDGE_PROCESS_SECONDS'
_DEFAULT_SECONDS = 3600.0
# Of a process that has returned its result.
_SECONDS_TO_END = 10.0
# Under this name a module lists what its functions import when they run; the server imports it before it forks.
LOADED_BEFORE = 'LOADED_BEFORE'

_DEFECT = (
    'a library that it calls cannot take this model: choose another mode or engine, or keep the operator float '
    'that the message names.'
)
_CAUSE = re.compile(r'(?i)error|fail|assert|check|abort|killed')
_CHATTER = re.compile(r'^(INFO|WARNING):|^[IW]\d{4} |Warning')

_Arguments = ParamSpec('_Arguments')
_Result = TypeVar('_Result')


class ChildFailure(EdgeError):
    """The process died of what ran in it, or that raised something else than an EdgeError.

    Attributes:
      reason: what it died of, and the line of its output that names the fault.
      output: all that it printed, the traceback last where it raised an error.
    """

    def __init__(self, message: str, reason: str, output: str = '') -> None:
        super().__init__(message)
        self.reason = reason
        self.output = output


def run_isolated(
    function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Calls a function in a process of its own.

    What the function logs reaches this process's log. Threads may call at the same time.

    Args:
      function: a public function of a module of tfx_edge.
      *args: its arguments, which can be pickled.
      **kwargs: its arguments by name.

    Returns:
      Its result.

    Raises:
      EdgeError: the function's own, or it is no such function.
      ChildFailure: the process died of a fault, or the function raised another error.
      EnvironmentFailure: the process was killed, hung, or found memory or a disk full.

    Example:
      >>> made = run_isolated(quantize.make_file, float_model, QuantizationOptions('INT8'), ranges)
    """
    module, name = function.__module__, function.__qualname__
    if not module.startswith(f'{isolated_call.PACKAGE}.') or not name.isidentifier() or name.startswith('_'):
        raise EdgeError(
            f'{module}.{name} does not run in a process of its own; give a public function of a module of '
            f'{isolated_call.PACKAGE}.'
        )
    level = logging.getLogger(isolated_call.PACKAGE).getEffectiveLevel()
    call = isolated_call.Call(module, name, args, kwargs, level, _folder(), _environment())
    with tempfile.TemporaryFile() as output:
        outcome, status = _made(call, output)
        if outcome is not None and outcome[0] == isolated_call.RETURNED:
            return outcome[1]
        if outcome is not None and outcome[0] == isolated_call.REFUSED:
            raise EdgeError(outcome[1])
        if outcome is not None and outcome[0] == isolated_call.ENVIRONMENT:
            raise EnvironmentFailure(outcome[1])
        output.seek(0)
        printed = output.read().decode(errors='replace')
    reason = outcome[1] if outcome is not None else _death(status, printed)
    message = f'{name} failed in a process of its own ({reason})'
    if outcome is None:
        remedy = remedy_of_machine(status, printed)
    else:
        exhausted = find_exhausted(reason)
        remedy = exhausted.remedy if exhausted else ''
    if remedy:
        raise EnvironmentFailure(f'{message}; {remedy}')
    raise ChildFailure(f'{message}; {_DEFECT}', reason, printed)


def load_ahead(function: Callable[..., Any]) -> None:
    """Has the server import what a function needs; returns at once, without waiting for it.

    Args:
      function: a function that will soon be passed to `run_isolated`.

    Example:
      >>> load_ahead(saved_model_converter.convert_signature)
    """
    if not os.environ.get(FRESH_PROCESSES):
        server_handle.load(_needed(function.__module__), _environment())


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '2',
        # TFX sets this to 1 for its children, which would load a Keras 3 model with tf_keras.
        'TF_USE_LEGACY_KERAS': '0',
        'CUDA_VISIBLE_DEVICES': '-1',
        **server_handle.THREADLESS,
    }


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed meanwhile
        return os.sep


def _needed(module: str) -> list[str]:
    return [module, *getattr(sys.modules[module], LOADED_BEFORE, ())]


def _made(call: isolated_call.Call, output: IO[bytes]) -> tuple[tuple[str, Any] | None, int]:
    """How the call ended, if it did (the kind, and the result or the reason), and the status of its process."""
    outcome: tuple[str, Any] | None = None
    seconds = _seconds()
    with _process(call, output) as (stream, wait):
        stream.settimeout(seconds)
        try:
            # Of a process that is dead its status is reported.
            with contextlib.suppress(ConnectionError):
                isolated_call.send(stream, call)
            for kind, content in isolated_call.messages(stream):
                if kind == isolated_call.LOG:
                    name, level, message = content
                    logging.getLogger(name).log(level, '%s', message)
                else:
                    outcome = kind, content
                    # What is to be reported has arrived; how the process ends does not matter.
                    stream.settimeout(_SECONDS_TO_END)
        except TimeoutError:
            if outcome is None:
                raise EnvironmentFailure(
                    f'{call.name} did neither log nor end for {seconds:g} s in a process of its own, which was ended; '
                    f'set {PROCESS_SECONDS} to let it take longer, or run the step again.'
                ) from None
            return outcome, 0
        return outcome, wait()


def _seconds() -> float:
    given = os.environ.get(PROCESS_SECONDS, '')
    try:
        seconds = float(given or _DEFAULT_SECONDS)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise EdgeError(f'{PROCESS_SECONDS} is {given!r}; expected a number of seconds above 0.')
    return seconds


@contextlib.contextmanager
def _process(
    call: isolated_call.Call, output: IO[bytes]
) -> Iterator[tuple[socket.socket, Callable[[], int]]]:
    """The socket to a process that waits for the call, and a function that waits for its end and returns its status."""
    own, other = socket.socketpair()
    with own, other:
        if not os.environ.get(FRESH_PROCESSES):
            modules = _needed(call.module)
            with server_handle.forked(modules, call.environment, other, output.fileno()) as child:
                other.close()
                if child is not None:
                    yield own, child.wait
                    return
    own, other = socket.socketpair()
    with own, other, _fresh(call, other, output) as fresh:
        other.close()
        yield own, fresh.wait


@contextlib.contextmanager
def _fresh(
    call: isolated_call.Call, stream: socket.socket, output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A fresh interpreter that waits for the call."""
    child = subprocess.Popen(
        [sys.executable, '-m', isolated_call.__name__, str(stream.fileno())],
        env=dict(call.environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[stream.fileno()],
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _death(status: int, printed: str) -> str:
    """What a child without a result died of, and the line of its output that names the fault."""
    cause = signal.Signals(-status).name if status < 0 else f'exit status {status}'
    # A native trace follows the line that names the fault.
    causes = [line for line in printed.splitlines() if _CAUSE.search(line) and not _CHATTER.search(line)]
    return f'{cause}: {shortened_line(causes[-1])}' if causes else cause
