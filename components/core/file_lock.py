"""A lock on a file, which ends with the process that has it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Has the lock on a file, which is made for it and removed afterwards.

    Args:
      path: of the file, in a folder that is there.

    Raises:
      BlockingIOError: another process has the lock.
      OSError: the file cannot be made, or its file system has no locks.

    Example:
      ```
      with locked('state.lock'):
          write_state()
      ```
    """
    descriptor = _locked(path)
    try:
        yield
    finally:
        # Removed while it is locked: whoever opened it meanwhile finds another file in its place.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def _locked(path: str) -> int:
    """The descriptor of the file at a path, locked."""
    while True:
        # The umask says who else may open it: on a volume of several users, those of the group.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The owner removed it in between.
        os.close(descriptor)
