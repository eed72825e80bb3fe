"""The user of a pod: one that the machine does not know, in a file system of which almost nothing is its own.

As Kubernetes starts containers, without rights: the root folder belongs to another, `HOME` is `/` since no user of that
number has one, and `/tmp` is empty and the pod's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

# Mounts are in a namespace of their own, and end with its last process. What is to be seen is put aside, the folders
# above it that are closed to the user are covered by empty ones, and it is mounted there again.
_ENTER = """
uid=$1 gid=$2 groups=$3 mask=$4; shift 4
mount -t tmpfs -o mode=755 aside /mnt
number=0
for path in $SEEN; do
    mkdir "/mnt/$number"; mount --rbind "$path" "/mnt/$number"; number=$((number + 1))
done
for path in $COVERED; do mount -t tmpfs -o mode=755 covered "$path"; done
mount -t tmpfs -o mode=755 covered /var/tmp
mount -t tmpfs -o mode=1777 own /tmp
number=0
for path in $SEEN; do
    mkdir -p "$path"; mount --rbind "/mnt/$number" "$path"; number=$((number + 1))
done
umask "$mask"
cd "$POD"
unset SEEN COVERED POD
exec setpriv --reuid "$uid" --regid "$gid" --groups "$groups" --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""
_UNSHARE = ('unshare', '--mount', '--propagation', 'private', 'sh', '-ec', _ENTER, 'pod')
# What an image sets and no cluster does, and what belongs to the user who runs the tests.
_FOREIGN = (
    'USER',
    'LOGNAME',
    'USERNAME',
    'TMPDIR',
    'PYTEST_DEBUG_TEMPROOT',
    'XDG_CACHE_HOME',
    'XDG_CONFIG_HOME',
)
# The folder of its libraries may lie elsewhere.
_PYTHON = (pathlib.Path(sys.prefix), pathlib.Path(sys.base_prefix), pathlib.Path(sys.base_prefix, 'lib'))


@dataclasses.dataclass(frozen=True)
class PodUser:
    """A `securityContext`.

    Attributes:
      uid: `runAsUser`.
      gid: `runAsGroup`; of root where nothing is said.
      groups: `supplementalGroups` and `fsGroup`.
      umask: of its processes.
    """

    uid: int
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: str = '022'

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one as this user; `environment` says where."""
        groups = ','.join(map(str, {self.gid, *self.groups}))
        return [*_UNSHARE, str(self.uid), str(self.gid), groups, self.umask, *command]

    def environment(
        self, given: Mapping[str, str], pod: pathlib.Path, seen: Collection[pathlib.Path]
    ) -> dict[str, str]:
        """Variables for `command`.

        Args:
          given: of the container.
          pod: its working folder.
          seen: files of the image, and volumes; the pod's folder and Python are seen too.
        """
        paths = sorted({path.resolve() for path in (pod, *_PYTHON, *seen)})
        return {
            **{name: value for name, value in given.items() if name not in _FOREIGN},
            'HOME': '/',
            'SEEN': ' '.join(map(str, paths)),
            'COVERED': ' '.join(sorted({str(closed) for path in paths for closed in _closed(path)})),
            'POD': str(pod.resolve()),
        }

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """Has this process do as the user does, for as long as the `with` block lasts."""
        before = os.getgroups(), os.umask(int(self.umask, 8))
        os.setgroups([self.gid, *self.groups])
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(os.getuid())
            os.setegid(os.getgid())
            os.setgroups(before[0])
            os.umask(before[1])

    def owns(self, folder: pathlib.Path) -> None:
        """Gives a folder and what is in it to the user."""
        for path in (folder, *folder.rglob('*')):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@functools.cache
def why_not() -> str:
    """Why pods cannot have users here; '' where they can."""
    for tool in ('setpriv', 'unshare', 'mount'):
        if shutil.which(tool) is None:
            return f'{tool} is not on this machine'
    nobody = PodUser(65534)
    tried = subprocess.run(
        nobody.command(['true']),
        env=nobody.environment(os.environ, pathlib.Path('/'), ()) | {'SEEN': '', 'COVERED': ''},
        capture_output=True,
    )
    return (
        ''
        if tried.returncode == 0
        else 'users and mounts of a pod need root, and the right to make namespaces'
    )


def _closed(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The topmost folder above a path that others may not pass."""
    for above in reversed(path.parents):
        if above == pathlib.Path('/tmp'):
            return
        if not above.stat().st_mode & 0o001:
            yield above
            return
