"""Beam's pool of Python workers as the first process of a container: it ends on SIGTERM, and its workers with it.

    python -m tfx_edge.pipelines.kubeflow.worker_pool --service_port=50000

Its workers are forked from a process that has imported TensorFlow and TFX already (`worker_server`), which takes longer
than most jobs.

Linux delivers a signal to process 1 only where that has a handler for it, and Beam's pool has none: Kubernetes would
wait 30 seconds each time, and kill it then. To end its workers, Beam's pool starts a thread when Python ends, which
Python 3.12 refuses: they would outlive it.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.runners.worker import worker_pool_main

from tfx_edge.components.core.isolation.server_handle import THREADLESS
from tfx_edge.pipelines.kubeflow import volume_access, worker_request

_SERVER = 'tfx_edge.pipelines.kubeflow.worker_server'


def main(argv: Sequence[str] | None = None) -> None:
    """Serves workers until SIGTERM, which ends the process with status 143, and the workers too.

    Args:
      argv: Beam's arguments, such as '--service_port=50000'; None for those of the process. With
        '--container_executable' workers are what that program makes of them.
    """
    # A process group of its own, which the workers and what they start belong to.
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    arguments = list(sys.argv[1:] if argv is None else argv)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='tfx-edge-workers-'))
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: _end(number, folder, ending))
    # What workers write on the shared volume, the step removes, which may be another user's of the same group.
    volume_access.let_group_write()
    try:
        if not any(argument.startswith('--container_executable') for argument in arguments):
            arguments.append(f'--container_executable={_start_server(folder, ending)}')
        worker_pool_main.main(arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_server(folder: pathlib.Path, ending: threading.Event) -> pathlib.Path:
    """Starts the server of the workers; returns the program that asks it for one."""
    address = folder / 'socket'
    given = {name: os.environ[name] for name in THREADLESS if name in os.environ}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, '-m', _SERVER, str(listener.fileno()), str(os.getpid()), json.dumps(given)],
            env={**os.environ, **THREADLESS},
            stdin=subprocess.DEVNULL,
            # Where the lines of the workers go too.
            stdout=sys.stderr.fileno(),
            pass_fds=[listener.fileno()],
        )
    threading.Thread(target=_watch, args=(server, folder, ending), daemon=True).start()
    program = folder / 'worker'
    command = [sys.executable, '-I', '-S', worker_request.__file__, str(address)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    program.chmod(0o700)
    return program


def _watch(server: subprocess.Popen[bytes], folder: pathlib.Path, ending: threading.Event) -> None:
    """Ends the pool with its server, so that whoever started it starts it anew: no worker can be forked any more."""
    status = server.wait()
    if ending.is_set():
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.write(
        2, f'tfx-edge: the server of the workers ended with status {status}, and the pool with it.\n'.encode()
    )
    os._exit(1)


def _end(number: int, folder: pathlib.Path, ending: threading.Event) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    ending.set()
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), number)
    os.write(2, b'tfx-edge: the worker pool was terminated, and its workers.\n')
    os._exit(128 + number)


if __name__ == '__main__':
    main()
