"""Runs a function of tfx-edge in a process of its own.

Native code can end its process (an abort or a segmentation fault that no `except` sees) and keeps memory with each
call: here it ends a child, and what it took is given back. The child is `python -m` this module, so that a user's
script needs no `if __name__ == '__main__'`. Arguments and result travel in files of a private folder, pickled by
tfx-edge for tfx-edge.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from tfx_edge.components.core.errors import EdgeError

_PACKAGE = 'tfx_edge'
_CALL, _RESULT, _STDERR = 'call.pickle', 'result.pickle', 'stderr'
_RETURNED, _REFUSED, _FAILED = 'returned', 'refused', 'failed'
_OUT_OF_MEMORY = 'the system ends processes that take too much memory: give it more, or use a smaller model.'
_DEFECT = (
    'a library that it calls cannot take this model: choose another mode or engine, or keep the operator float '
    'that the message names.'
)
_TELLING = re.compile(r'(?i)error|fail|assert|check|abort|killed')
_CHATTER = re.compile(r'^(INFO|WARNING):|^[IW]\d{4} |Warning')

_Arguments = ParamSpec('_Arguments')
_Result = TypeVar('_Result')


class ChildFailure(EdgeError):
    """The process died, or what ran in it raised something else than an EdgeError.

    Attributes:
      reason: what it died of, and the line of its output that says most.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def run_isolated(
    function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Calls a function in a process of its own.

    What the function logs reaches this process's log.

    Args:
      function: a public function of a module of tfx_edge.
      *args: its arguments, which can be pickled.
      **kwargs: its arguments by name.

    Returns:
      Its result.

    Raises:
      EdgeError: the function's own, or it is no such function.
      ChildFailure: the process died, or the function raised another error.

    Example:
      >>> made = run_isolated(quantize.make_file, float_model, QuantizationOptions('INT8'), ranges)
    """
    module, name = function.__module__, function.__qualname__
    if not module.startswith(f'{_PACKAGE}.') or not name.isidentifier() or name.startswith('_'):
        raise EdgeError(
            f'{module}.{name} does not run in a process of its own; give a public function of a module of {_PACKAGE}.'
        )
    with tempfile.TemporaryDirectory(prefix='tfx_edge_isolated_') as temporary:
        folder = pathlib.Path(temporary)
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        (folder / _CALL).write_bytes(pickle.dumps((module, name, args, kwargs, level)))
        status = _run_child(folder)
        result = folder / _RESULT
        how: str = _FAILED
        value: Any = None
        if result.exists():
            how, value = pickle.loads(result.read_bytes())
        if how == _RETURNED:
            return value
        if how == _REFUSED:
            raise EdgeError(value)
        reason = value or _death(status, (folder / _STDERR).read_text(errors='replace'))
    remedy = _OUT_OF_MEMORY if status == -signal.SIGKILL else _DEFECT
    raise ChildFailure(f'{name} failed in a process of its own ({reason}); {remedy}', reason)


def _run_child(folder: pathlib.Path) -> int:
    """Runs the child to its end, and passes its log records on."""
    environment = {
        **os.environ,
        'TF_CPP_MIN_LOG_LEVEL': '2',
        # TFX sets this to 1 for its children, which would load a Keras 3 model with tf_keras.
        'TF_USE_LEGACY_KERAS': '0',
        'CUDA_VISIBLE_DEVICES': '-1',
    }
    read_end, write_end = os.pipe()
    command = [sys.executable, '-m', __name__, str(folder), str(write_end)]
    with open(folder / _STDERR, 'wb') as stderr, os.fdopen(read_end, encoding='utf-8') as records:
        try:
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[write_end],
            )
        finally:
            os.close(write_end)
        listener = threading.Thread(target=_pass_on, args=[records], daemon=True)
        listener.start()
        try:
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        listener.join()
    return status


def _pass_on(records: Any) -> None:
    for line in records:
        name, level, message = json.loads(line)
        logging.getLogger(name).log(level, '%s', message)


def _death(status: int, stderr: str) -> str:
    """What a child without a result died of, and the line of its output that says most."""
    cause = signal.Signals(-status).name if status < 0 else f'exit status {status}'
    # A native trace follows the line that tells.
    telling = [line for line in stderr.splitlines() if _TELLING.search(line) and not _CHATTER.search(line)]
    return f'{cause}: {" ".join(telling[-1].split())[-300:]}' if telling else cause


class _Sender(logging.Handler):
    """Writes log records to the parent."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write(json.dumps([record.name, record.levelno, record.getMessage()]) + '\n')
        self._stream.flush()


def _child(folder: pathlib.Path, records: int) -> None:
    """What the child process does."""
    module, name, args, kwargs, level = pickle.loads((folder / _CALL).read_bytes())
    outcome: tuple[str, Any]
    with os.fdopen(records, 'w', encoding='utf-8') as stream:
        logger = logging.getLogger(_PACKAGE)
        logger.setLevel(level)
        logger.addHandler(_Sender(stream))
        logger.propagate = False
        try:
            outcome = _RETURNED, getattr(importlib.import_module(module), name)(*args, **kwargs)
        except EdgeError as error:
            outcome = _REFUSED, str(error)
        except Exception as error:  # noqa: BLE001 - told to the parent, whatever it is
            outcome = _FAILED, f'{type(error).__name__}: {" ".join(str(error).split())[-300:]}'
        draft = folder / f'{_RESULT}.unfinished'
        draft.write_bytes(pickle.dumps(outcome))
        # Renamed when whole.
        draft.rename(folder / _RESULT)


if __name__ == '__main__':
    _child(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
