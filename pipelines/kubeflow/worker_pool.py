"""Beam's pool of Python workers as the first process of a container: it ends on SIGTERM, and its workers with it.

    python -m tfx_edge.pipelines.kubeflow.worker_pool --service_port=50000

Linux delivers a signal to process 1 only where that has a handler for it, and Beam's pool has none: Kubernetes would
wait 30 seconds each time, and kill it then.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from apache_beam.runners.worker import worker_pool_main


def main(argv: Sequence[str] | None = None) -> None:
    """Serves workers until SIGTERM or SIGINT.

    Args:
      argv: Beam's arguments, such as '--service_port=50000'; None for those of the process.

    Raises:
      SystemExit: SIGTERM came; the status is 143, and the workers that run are stopped while Python exits.
    """
    signal.signal(signal.SIGTERM, _end)
    worker_pool_main.main(list(sys.argv[1:] if argv is None else argv))


def _end(number: int, frame: FrameType | None) -> None:
    # A second one has the usual effect, should a worker not end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.write(2, b'tfx-edge: the worker pool was terminated; its workers are stopped.\n')
    raise SystemExit(128 + number)


if __name__ == '__main__':
    main()
