"""Forks Beam's Python workers from a process that has imported what they need: a worker is there in a moment.

`worker_pool` starts it as `python -m` this module, and `worker_request` asks it for each worker over a socket. Until
the modules are there requests wait. It has one thread at each fork and has run nothing of TensorFlow or gRPC, and so
forks safely: libraries that start threads when they are imported are set not to (`THREADLESS`), and with
more than one thread it refuses, and says why. Workers share the memory of what was imported. They end with it, and it
ends with the pool.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tfx_edge.components.core.isolation import forking
from tfx_edge.components.core.isolation.server_handle import THREADLESS
from tfx_edge.pipelines.kubeflow import beam_worker, worker_request

# By which `ps`, `top` and the kernel's log of killed processes call a worker.
NAME = 'beam-worker'
_PR_SET_NAME = 15


class WorkerServer:
    """Answers `worker_request`.

    Args:
      listener: a SOCK_SEQPACKET socket that listens.
      environment: of `THREADLESS`, what workers have.
    """

    def __init__(self, listener: socket.socket, environment: Mapping[str, str]) -> None:
        self._listener, self._environment = listener, environment
        self._clients: dict[int, socket.socket] = {}  # by the process id of the worker
        # A worker that ends interrupts the waiting.
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def serve(self) -> NoReturn:
        """Forks workers until this process is ended."""
        while True:
            self.serve_once()

    def serve_once(self) -> None:
        """Waits for something to do, and does it."""
        waiting = select.poll()  # a process with more than a thousand files open cannot use select
        sources = (self._listener, *self._clients.values())
        for descriptor in (self._woken, *(source.fileno() for source in sources)):
            waiting.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in waiting.poll()}
        if self._woken in ready:
            os.read(self._woken, 4096)
        for pid, client in self._clients.items():
            if client.fileno() in ready:
                os.kill(pid, _signal_from(client))
        self._reap()
        if self._listener.fileno() in ready:
            client, _ = self._listener.accept()
            self._take_request(client)

    def _reap(self) -> None:
        while self._clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._clients.pop(pid) as client, contextlib.suppress(OSError):  # it may have ended
                client.send(worker_request.ENDED + str(os.waitstatus_to_exitcode(status)).encode())

    def _take_request(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if request := client.recv(worker_request.LONGEST):
                self._answer(client, json.loads(request))
                return
        client.close()

    def _answer(self, client: socket.socket, argv: Sequence[str]) -> None:
        threads = forking.thread_count()
        if threads > 1:
            with client:
                reason = f'the process with the imported modules has {threads} threads'
                client.send(worker_request.REFUSED + reason.encode())
            return
        server = os.getpid()
        pid = os.fork()
        if pid:
            self._clients[pid] = client
            return
        for stream in (self._listener, client, *self._clients.values()):
            stream.close()
        for name in THREADLESS:
            os.environ.pop(name, None)
        os.environ.update(self._environment)
        _be_worker(server, argv)


def _signal_from(client: socket.socket) -> int:
    """The signal that was passed on; that which nothing withstands, if the client itself is gone."""
    with contextlib.suppress(OSError):
        if number := client.recv(16):
            return int(number)
    return signal.SIGKILL


def _be_worker(server: int, argv: Sequence[str]) -> NoReturn:
    status = 1
    try:
        forking.end_with(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sys.platform == 'linux':
            ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME.encode())
        beam_worker.main(argv)
        status = 0
    except BaseException:  # noqa: BLE001 - the worker must not go on as a server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def load(modules: Sequence[str]) -> None:
    """Imports modules; one that cannot be imported is named in a line, and left to the workers.

    Args:
      modules: their names.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module raises
            reason = f'{type(error).__name__}: {error}'.splitlines()[0]
            print(
                f'tfx-edge: {name} cannot be imported before the workers start, and each that needs it tries anew: '
                f'{reason}',
                file=sys.stderr,
                flush=True,
            )
    # The workers share these pages as long as the collector does not write into them.
    gc.collect()
    gc.freeze()


def main(descriptor: int, pool: int, environment: str) -> NoReturn:
    """Serves on a socket.

    Args:
      descriptor: of the socket that listens.
      pool: process id of the pool.
      environment: what the pool has of `THREADLESS`, as JSON.
    """
    forking.end_with(pool)
    server = WorkerServer(socket.socket(fileno=descriptor), json.loads(environment))
    load(beam_worker.LOADED_BEFORE)
    server.serve()


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
