"""One run at a time has the state of a training; a run that died has it no longer."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from tfx_edge.components.core.file_lock import locked

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def owned(folder: str, patience_seconds: float = 0.0) -> Iterator[str]:
    """Makes this process the owner of a training's state, if no other process is.

    Two runs of one step with the same inputs would otherwise delete each other's state. The system's lock on a file
    beside the folder ends with its owner, however that ends; another process that asks meanwhile trains all the same,
    and keeps no state. On a file system without locks, or one that is reached by URL, every run counts as the owner.

    Args:
      folder: of the state; '' for none.
      patience_seconds: how long to wait for another owner to end. A file server keeps the locks of a machine that it
        lost for a while.

    Yields:
      The folder; '' where another process owns it.

    Example:
      >>> with owned('training_state') as folder:
      ...   folder
      'training_state'
    """
    if not folder or '://' in folder:
        yield folder
        return
    os.makedirs(os.path.dirname(folder) or os.curdir, exist_ok=True)
    path = f'{folder}.lock'
    with contextlib.ExitStack() as held:
        try:
            _lock(held, path, time.monotonic() + patience_seconds)
        except BlockingIOError:
            _LOG.warning(
                'another run trains with the same inputs and configuration, and keeps its state in %s: this run keeps '
                'none, and would start from the beginning if it were interrupted',
                folder,
            )
            folder = ''
        except OSError as error:
            _LOG.info('%s cannot be locked (%s): do not run this step twice at a time', path, error.strerror)
        yield folder


def _lock(held: contextlib.ExitStack, path: str, deadline: float) -> None:
    while True:
        try:
            held.enter_context(locked(path))
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
