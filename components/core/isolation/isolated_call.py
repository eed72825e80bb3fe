"""The child's part of an isolated call: it receives the call over a socket, and sends log records and the result.

`isolation` starts such processes: `process_server` forks them, or `python -m` runs this module in a fresh
interpreter. Both ends are tfx-edge: nothing but what tfx-edge pickled is unpickled here.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import pickle
import socket
import struct
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.isolation.printed_line import shortened_line

PACKAGE = 'tfx_edge'
# Kinds of messages to the caller.
LOG, RETURNED, REFUSED, FAILED, ENVIRONMENT = 'log', 'returned', 'refused', 'failed', 'environment'
_LENGTH = struct.Struct('>Q')


@dataclasses.dataclass(frozen=True)
class Call:
    """A function call, and the surroundings to make it in.

    Attributes:
      module: of the function.
      name: of the function.
      args: its arguments.
      kwargs: its arguments by name.
      level: of the caller's log.
      folder: the caller's working directory.
      environment: the caller's environment variables.
    """

    module: str
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    level: int
    folder: str
    environment: Mapping[str, str]


def send(stream: socket.socket, message: Any) -> None:
    """Sends one message, for `receive` or `messages` at the other end."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.sendall(_LENGTH.pack(len(content)))
    stream.sendall(content)


def receive(stream: socket.socket) -> Any:
    """Waits for the next message and returns it.

    Raises:
      EOFError: the other end was closed before the message was whole.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return pickle.loads(_exactly(stream, length))


def messages(stream: socket.socket) -> Iterator[Any]:
    """The messages that are whole, until the other end is closed."""
    while True:
        try:
            message = receive(stream)
        except (EOFError, ConnectionResetError):
            return
        yield message


def answer(stream: socket.socket) -> None:
    """Receives a Call, makes it, and sends log records and the outcome: (RETURNED, result) or (kind, reason)."""
    call: Call = receive(stream)
    os.environ.clear()
    os.environ.update(call.environment)
    os.chdir(call.folder)
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(call.level)
    logger.addHandler(_Sender(stream))
    logger.propagate = False
    outcome: tuple[str, Any]
    try:
        function = getattr(importlib.import_module(call.module), call.name)
        outcome = RETURNED, function(*call.args, **call.kwargs)
    except EdgeError as error:
        outcome = REFUSED, str(error)
    except EnvironmentFailure as error:
        outcome = ENVIRONMENT, str(error)
    except Exception as error:  # noqa: BLE001 - reported to the caller, whatever it is
        # The caller may search what the libraries printed before the traceback.
        traceback.print_exc()
        outcome = FAILED, f'{type(error).__name__}: {shortened_line(str(error))}'
    send(stream, outcome)


class _Sender(logging.Handler):
    """Sends log records to the caller."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        send(self._stream, (LOG, (record.name, record.levelno, record.getMessage())))


def _exactly(stream: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    view = memoryview(content)
    while view:
        count = stream.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return content


if __name__ == '__main__':
    answer(socket.socket(fileno=int(sys.argv[1])))
