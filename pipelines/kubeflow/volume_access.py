"""Who may do what on a volume that pods of several users share: a step's, the next step's, a worker's of Beam."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

REMEDY = 'give all steps and workers one user (runAsUser), or one group (fsGroup) that may write there'
_GROUP = 0o070


@contextlib.contextmanager
def group_may_write() -> Iterator[None]:
    """Lets the group of new files and folders do what their owner may.

    A cluster may give each pod a user of its own, and then the same group. What one of them leaves on the volume,
    another is to read and to remove.

    Example:
      ```
      with group_may_write():
          os.mkdir('/tfx-edge-shared/made')
      ```
    """
    before = let_group_write()
    try:
        yield
    finally:
        os.umask(before)


def let_group_write() -> int:
    """As `group_may_write`, for the rest of the process; returns the umask that was."""
    before = os.umask(0o077)
    os.umask(before & ~_GROUP)
    return before


def reason(error: OSError, place: str | os.PathLike[str]) -> str:
    """Why a place cannot be read or written, in a few words; where it is a matter of users, whose it is.

    Args:
      error: what the system said.
      place: a file or folder, which need not be there.

    Example:
      ```
      reason(error, '/tfx-edge-shared')
      # 'Permission denied: /tfx-edge-shared is drwxr-xr-x of user 1000, group 1000; this is user 4242 of group 0'
      ```
    """
    said = error.strerror or str(error)
    return f'{said}: {whose(place)}' if isinstance(error, PermissionError) else said


def whose(place: str | os.PathLike[str]) -> str:
    """Whose a place is and who asks, in words; of the folder above it where it is not there, or not to be seen."""
    groups = sorted({os.getegid(), *os.getgroups()})
    asks = f'this is user {os.geteuid()} of group{"s" if groups[1:] else ""} {", ".join(map(str, groups))}'
    for path in (pathlib.Path(place), *pathlib.Path(place).parents):
        with contextlib.suppress(OSError):
            found = path.stat()
            return f'{path} is {stat.filemode(found.st_mode)} of user {found.st_uid}, group {found.st_gid}; {asks}'
    return asks


def closed_folder(folder: str | os.PathLike[str]) -> pathlib.Path | None:
    """A folder, itself or one in it, out of which this user may remove nothing; None if there is none."""
    for root, names, _ in os.walk(folder):
        for path in (pathlib.Path(root), *(pathlib.Path(root, name) for name in names)):
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                return path
    return None
