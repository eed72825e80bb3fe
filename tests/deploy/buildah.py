"""buildah with a storage of its own, and images that are run as a strict cluster runs them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

# A read-only root, an empty /tmp, and a working folder that can be written; processes and mounts end with the first
# process, which is the command itself.
_ENTER = """
root=$1 home=$2 work=$3 user=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$work" "$root$home"
cd "$root$home"
exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid chroot --userspec="$user:$user" --groups= "$root" \\
  /usr/bin/env -i -C "$home" "$@"
"""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of an image: the digest of its files, and their size in bytes as they are packed."""

    digest: str
    size: int


class Buildah:
    """Builds and opens images.

    Args:
      folder: where images are kept.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._storage = folder / 'storage'
        self._command = ['buildah', '--root', str(self._storage), '--runroot', str(folder / 'run')]

    def run(self, *arguments: str, cwd: pathlib.Path | None = None) -> str:
        """The standard output of a command of buildah, which must succeed."""
        done = subprocess.run([*self._command, *arguments], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, (
            f'buildah {" ".join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
        )
        return done.stdout.strip()

    def has(self, name: str) -> bool:
        """Whether an image is in the storage."""
        done = subprocess.run([*self._command, 'images', '--quiet', name], capture_output=True)
        return done.returncode == 0

    def pull(self, name: str) -> bool:
        """Whether the image could be fetched."""
        return subprocess.run([*self._command, 'pull', '--quiet', name], capture_output=True).returncode == 0

    def commit_folder(self, folder: pathlib.Path, name: str) -> None:
        """Makes an image of one layer."""
        container = self.run('from', 'scratch')
        self.run('add', '--quiet', container, str(folder), '/')
        self.run(
            'config', '--env', 'PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin', container
        )
        self.run('commit', '--quiet', '--rm', container, name)

    def build(self, context: pathlib.Path, *arguments: str) -> str:
        """Builds what the arguments name, as a user does; returns what the build wrote."""
        return self.run(
            *(
                'build',
                '--isolation',
                'chroot',
                '--network',
                'host',
                '--pull-never',
                '--layers',
                *arguments,
                '.',
            ),
            cwd=context,
        )

    def layers(self, image: str) -> list[Layer]:
        """From the base up."""
        sizes = {
            layer['diff-digest']: layer['diff-size']
            for layer in json.loads((self._storage / 'overlay-layers' / 'layers.json').read_text())
            if 'diff-digest' in layer
        }
        digests = self._inspect(image)['OCIv1']['rootfs']['diff_ids']
        return [Layer(digest, sizes[digest]) for digest in digests]

    def open(self, image: str) -> Opened:
        """The files of an image, and what it says about how to run them."""
        container = self.run('from', '--pull-never', image)
        return Opened(pathlib.Path(self.run('mount', container)), self._inspect(image)['OCIv1']['config'])

    def close_all(self) -> None:
        """Unmounts and removes all working copies of images."""
        subprocess.run([*self._command, 'rm', '--all'], capture_output=True)

    def _inspect(self, image: str) -> dict[str, Any]:
        return json.loads(self.run('inspect', '--type', 'image', image))


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image whose files can be read at `root`; `config` is as OCI's specification has it."""

    root: pathlib.Path
    config: Mapping[str, Any]

    def command(
        self, work: pathlib.Path, arguments: Sequence[str], user: int = 2000, entrypoint: bool = True
    ) -> list[str]:
        """The command that runs another one in the image, with a read-only root and without any capability.

        Args:
          work: a folder that is mounted where the image has its working folder.
          arguments: what to run.
          user: its number, which the image need not know.
          entrypoint: whether the image's entry point starts it; Kubernetes' `command` replaces that.
        """
        variables = self.config['Env']
        started = [*(self.config['Entrypoint'] if entrypoint else []), *arguments]
        enter = ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child']
        place = self.config['WorkingDir']
        return [
            *enter,
            'sh',
            '-ec',
            _ENTER,
            'enter',
            str(self.root),
            place,
            str(work),
            str(user),
            *variables,
            *started,
        ]
