"""The client of the process server: starts it when it is needed, sends it requests, ends it with this process."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

_LOG = logging.getLogger(__name__)

_SERVER = 'tfx_edge.components.core.isolation.process_server'
# With these, NumPy's OpenBLAS and pyarrow's jemalloc start no threads at import, so that the server can fork.
THREADLESS = {'OPENBLAS_NUM_THREADS': '1', 'JE_ARROW_MALLOC_CONF': 'background_thread:false'}
# The first byte that the server answers.
FORKED, TOO_MANY_THREADS = b'F', b'T'
_LONGEST_STATUS = 16
_SECONDS_TO_END = 5.0
_ATTEMPTS = 2


class ForkedProcess:
    """A child of the server.

    Args:
      status: the socket on which the server reports how it ended.
    """

    def __init__(self, status: socket.socket) -> None:
        self._status = status

    def wait(self) -> int:
        """Waits for its end: the exit status, or minus the number of the signal that ended it."""
        reported = b''
        while part := self._status.recv(_LONGEST_STATUS):
            reported += part
        # A server that reports nothing was killed, and its children with it.
        return int(reported) if reported else -signal.SIGKILL

    def end(self) -> None:
        """Ends it if it runs, and returns when it has ended."""
        with self._status, contextlib.suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)
            self.wait()


@contextlib.contextmanager
def forked(
    modules: Sequence[str], environment: Mapping[str, str], call: socket.socket, output: int
) -> Iterator[ForkedProcess | None]:
    """Asks the server for a process that waits for a call; none is left behind.

    Args:
      modules: modules that it has to have imported.
      environment: environment of the server, if it has to be started.
      call: the process's end of the socket that carries the call.
      output: descriptor of a file for what it prints.

    Yields:
      The process; None where the server cannot fork, which is logged.
    """
    child = _forked(modules, environment, call, output)
    try:
        yield child
    finally:
        if child is not None:
            child.end()


def load(modules: Sequence[str], environment: Mapping[str, str]) -> None:
    """Lets the server import modules; does not wait for it."""
    with contextlib.suppress(OSError):  # whoever needs the server starts another
        _HANDLE.load(modules, environment)


def adopt(control: socket.socket) -> None:
    """Makes a child of a server ask the same server for children of its own.

    Args:
      control: a socket to that server.
    """
    _HANDLE.adopt(control)


def _forked(
    modules: Sequence[str], environment: Mapping[str, str], call: socket.socket, output: int
) -> ForkedProcess | None:
    for _ in range(_ATTEMPTS):
        own, other = socket.socketpair()
        try:
            with other:
                answer = _HANDLE.fork(modules, environment, own, [call.fileno(), other.fileno(), output])
        except OSError:  # it had ended, idle or killed: the next attempt starts another
            own.close()
            continue
        except BaseException:
            own.close()
            raise
        if answer == FORKED:
            return ForkedProcess(own)
        own.close()
        _LOG.warning('the process server has several threads and does not fork; starting a fresh interpreter')
        return None
    _LOG.warning('the process server does not start; starting a fresh interpreter')
    return None


class _Handle:
    """The server of this process, if there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._of_parent: subprocess.Popen[bytes] | None = None

    def load(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        """Sends a request without a child, unless another is under way."""
        if self._lock.acquire(blocking=False):
            try:
                self._running(environment).send(_as_request(modules))
            finally:
                self._lock.release()

    def fork(
        self,
        modules: Sequence[str],
        environment: Mapping[str, str],
        status: socket.socket,
        descriptors: Sequence[int],
    ) -> bytes:
        """Sends a request for a child, and returns the first byte of the answer.

        Raises:
          OSError: the server has ended.
        """
        with self._lock:
            control = self._running(environment)
            try:
                socket.send_fds(control, [_as_request(modules)], list(descriptors))
                answer = _first_byte(status, control)
                if not answer:
                    raise ConnectionResetError('the process server has ended')
                return answer
            except OSError:
                self._end()
                raise

    def adopt(self, control: socket.socket) -> None:
        """See `adopt`."""
        self._control = control

    def end(self) -> None:
        """Ends the server, and what it runs."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """In a process that was forked from this one: the server is the parent's."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
        self._control, self._server, self._of_parent = None, None, self._server

    def _running(self, environment: Mapping[str, str]) -> socket.socket:
        if self._control is not None and (self._server is None or self._server.poll() is None):
            return self._control
        self._end()
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._server = subprocess.Popen(
                [sys.executable, '-m', _SERVER, str(other.fileno()), str(os.getpid())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                # An interrupt at the keyboard is for this process, which ends what it called.
                start_new_session=True,
            )
        self._control = own
        return own

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            try:
                self._server.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        self._control = self._server = None


def _first_byte(status: socket.socket, control: socket.socket) -> bytes:
    """The first byte of the server's answer; b'' if it has ended, which alone makes the control socket readable."""
    waiting = select.poll()  # a process with more than a thousand files open cannot use select
    for stream in (status, control):
        waiting.register(stream, select.POLLIN)
    ready = [descriptor for descriptor, _ in waiting.poll()]
    return status.recv(1) if status.fileno() in ready else b''


def _as_request(modules: Sequence[str]) -> bytes:
    return json.dumps(list(modules)).encode()


_HANDLE = _Handle()
atexit.register(_HANDLE.end)
os.register_at_fork(after_in_child=_HANDLE.forget)
