"""Asks `worker_server` for a worker, and stands for it: ends when it ends, and ends it when it is ended.

Beam's pool starts this as a file, with `-I -S`: Python's own modules are all that it has, and so it takes no time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

# What the server answers before what it has to say: the worker's exit status (minus the signal), or why there is none.
ENDED, REFUSED = b'E', b'R'
LONGEST = 2**16
_WORKER = 'tfx_edge.pipelines.kubeflow.beam_worker'


def main(address: str, argv: Sequence[str]) -> NoReturn:
    """Ends as the worker does.

    Args:
      address: path of the server's socket.
      argv: of the worker.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        server.send(json.dumps(argv).encode())
        signal.signal(signal.SIGTERM, lambda number, frame: _pass_on(number, server))
        answer = _answer_of(server)
    if answer.startswith(ENDED):
        _end_with(int(answer[1:]))
    if answer.startswith(REFUSED):
        reason = answer[1:].decode()
        print(
            f'tfx-edge: a worker was not forked, and takes longer to start: {reason}',
            file=sys.stderr,
            flush=True,
        )
        os.execv(sys.executable, [sys.executable, '-m', _WORKER, *argv])
    sys.exit('tfx-edge: the server of the workers has ended, and this worker with it.')


def _answer_of(server: socket.socket) -> bytes:
    try:
        return server.recv(LONGEST)
    except ConnectionResetError:
        return b''


def _pass_on(number: int, server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended
        server.send(str(number).encode())


def _end_with(status: int) -> NoReturn:
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(abs(status))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
