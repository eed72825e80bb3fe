"""A process that has loaded what calls need, and forks for each call: TensorFlow is imported once, not once a call.

`server_handle` starts it as `python -m` this module, and asks over a socket. It has one thread at each fork, and so
forks safely: libraries that start threads when they are imported are set not to (`server_handle.THREADLESS`), the
system is asked how many threads there are, and with more than one it does not fork but says so. It ends with its
caller: at once when the caller lets go of the socket, within a second when the caller was killed and something else
holds the socket. Its children end with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from tfx_edge.components.core.isolation import forking, isolated_call, server_handle

# With a request come the child's end of the socket that carries the call, an end of the one that reports how the child
# ended, and the file for its output.
_DESCRIPTORS = 3
_LONGEST_REQUEST = 2**16
_IDLE_SECONDS = 300
_LOOK_AFTER_CALLER_SECONDS = 1.0


def serve(control: socket.socket, caller: int) -> None:
    """Answers requests until the caller is gone, or nobody has asked for five minutes.

    A request is a JSON list of modules to import. With three descriptors it also asks for a child: the server answers
    on the second of them with FORKED or TOO_MANY_THREADS, and later with the child's exit status (minus the signal) as
    decimal digits. Whoever closes the other end of that socket ends the child.

    Args:
      control: a SOCK_SEQPACKET socket where requests come from.
      caller: process id of the one that holds the other end.
    """
    server = _Server(control)
    last = time.monotonic()
    while os.getppid() == caller and not server.is_closed:
        if server.serve_once() or server.is_busy:
            last = time.monotonic()
        elif time.monotonic() - last > _IDLE_SECONDS:
            break
    server.end_children()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        # Sockets on which the children ask for children of their own.
        self._nested: list[socket.socket] = []
        self._statuses: dict[int, socket.socket] = {}  # by process id
        self.is_closed = False
        # A child that ends interrupts the waiting.
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    @property
    def is_busy(self) -> bool:
        return bool(self._statuses)

    def serve_once(self) -> bool:
        """Waits for something to do, at most a second; returns whether there was anything."""
        waited: list[Any] = [self._woken, self._control, *self._nested, *self._statuses.values()]
        ready, _, _ = select.select(waited, [], [], _LOOK_AFTER_CALLER_SECONDS)
        if self._woken in ready:
            os.read(self._woken, 4096)
        for pid, status in self._statuses.items():
            if status in ready:  # the caller sends nothing there: it has closed it
                os.kill(pid, signal.SIGKILL)
        self._reap()
        for control in [self._control, *self._nested]:
            if control in ready:
                self._take_request(control)
        return bool(ready)

    def end_children(self) -> None:
        for pid in self._statuses:
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._statuses.pop(pid) as stream:
                _report(stream, str(os.waitstatus_to_exitcode(status)).encode())

    def _take_request(self, control: socket.socket) -> None:
        try:
            request, descriptors, _, _ = socket.recv_fds(control, _LONGEST_REQUEST, _DESCRIPTORS)
        except ConnectionError:
            request, descriptors = b'', []
        if not request:
            self._let_go(control)
            return
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        _load(json.loads(request))
        if not descriptors:
            return
        call, status, output = descriptors
        with socket.socket(fileno=call) as stream, os.fdopen(output, 'wb') as printed:
            reported = socket.socket(fileno=status)
            if forking.thread_count() > 1:
                with reported:
                    _report(reported, server_handle.TOO_MANY_THREADS)
            else:
                self._fork(stream, reported, printed.fileno())

    def _let_go(self, control: socket.socket) -> None:
        if control is self._control:
            self.is_closed = True
        else:
            self._nested.remove(control)
            control.close()

    def _fork(self, call: socket.socket, status: socket.socket, output: int) -> None:
        own, nested = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = os.getpid()
        pid = os.fork()
        if not pid:
            for stream in (self._control, own, status, *self._nested, *self._statuses.values()):
                stream.close()
            _be_child(server, call, nested, output)
        nested.close()
        self._nested.append(own)
        self._statuses[pid] = status
        _report(status, server_handle.FORKED)


def _be_child(server: int, call: socket.socket, control: socket.socket, output: int) -> NoReturn:
    status = 1
    try:
        forking.end_with(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        server_handle.adopt(control)
        isolated_call.answer(call)
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not go on as a server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _load(modules: Sequence[str]) -> None:
    """Imports what is not there yet; what cannot be imported fails in the child, which reports it."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - see above
            traceback.print_exc()
    if missing:
        # The children share these pages as long as the collector does not write into them.
        gc.collect()
        gc.freeze()


def _report(stream: socket.socket, text: bytes) -> None:
    try:
        stream.sendall(text)
    except OSError:
        return  # the caller has let go of it


if __name__ == '__main__':
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    # Ends without TensorFlow's clean-up, for which the caller would have to wait.
    os._exit(0)
