"""Beam's pool of Python workers as the first process of a container: it ends on SIGTERM, and its workers with it.

    python -m tfx_edge.pipelines.kubeflow.worker_pool --service_port=50000

Linux delivers a signal to process 1 only where that has a handler for it, and Beam's pool has none: Kubernetes would
wait 30 seconds each time, and kill it then. To end its workers, Beam's pool starts a thread when Python ends, which
Python 3.12 refuses: they would outlive it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from apache_beam.runners.worker import worker_pool_main

from tfx_edge.pipelines.kubeflow import volume_access


def main(argv: Sequence[str] | None = None) -> None:
    """Serves workers until SIGTERM, which ends the process with status 143, and the workers too.

    Args:
      argv: Beam's arguments, such as '--service_port=50000'; None for those of the process.
    """
    # A process group of its own, which the workers and what they start belong to.
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _end)
    # What workers write on the shared volume, the step removes, which may be another user's of the same group.
    volume_access.let_group_write()
    worker_pool_main.main(list(sys.argv[1:] if argv is None else argv))


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    os.killpg(os.getpgrp(), number)
    os.write(2, b'tfx-edge: the worker pool was terminated, and its workers.\n')
    os._exit(128 + number)


if __name__ == '__main__':
    main()
