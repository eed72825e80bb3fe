"""Bare Debian systems in folders: what a new machine has, and nothing that this one happens to have.

root = debian_root('trixie', ['make', 'python3-venv'], pathlib.Path('/tmp/root'))
subprocess.run(command_in(root, ['python3', '--version']), env=ENVIRONMENT, check=True)
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

KEYRING = pathlib.Path('/usr/share/keyrings/debian-archive-keyring.gpg')
MIRROR = 'http://deb.debian.org/debian'
# Not in the repository: git ignores it, and `make clean` removes it. It belongs to root, so .uv/ is not the place.
CACHE = pathlib.Path(__file__).parents[1] / '.debian'
# Of the process that enters a root; what this machine sets is not for the other.
ENVIRONMENT = {
    'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LANG': 'C.UTF-8',
    'DEBIAN_FRONTEND': 'noninteractive',
}
# Mounts are in a namespace of their own, and processes too: both end with the first process, however it ends.
_ENTER = """
root=$1 user=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot --userspec="$user" "$root" "$@"
"""


class DebianRootError(Exception):
    """A bare root cannot be made here; the message says why, in one line."""


def debian_root(suite: str, packages: Sequence[str], folder: pathlib.Path) -> pathlib.Path:
    """Makes a Debian that has the packages of `debootstrap --variant=minbase` and the given ones.

    The bare system is kept in `.debian/` and copied from there; the packages are installed by apt, with their
    dependencies and without what these recommend. Signatures are checked with Debian's keyring.

    Args:
      suite: Debian's name of the release, as 'bookworm' or 'trixie'.
      packages: Names of packages; may be empty.
      folder: Where to make it. It must not be there yet.

    Returns:
      The folder.

    Raises:
      DebianRootError: If the folder is there, the user is not root, debootstrap or the keyring is missing, or a
        command failed.

    Example:
      `debian_root('trixie', ['python3-venv'], pathlib.Path('/tmp/root'))`
    """
    if folder.exists():
        raise DebianRootError(f'{folder} is there already; a Debian root is made in a new folder. Remove it.')
    check_host()
    bare = _bare(suite)
    _run(['cp', '-a', '--reflink=auto', str(bare), str(folder)], f'the copy of {bare} to {folder}')
    for name in ('resolv.conf', 'hosts'):
        shutil.copy(f'/etc/{name}', folder / 'etc' / name)
    install(folder, packages)
    return folder


def install(root: pathlib.Path, packages: Sequence[str]) -> None:
    """Installs packages in a root, with their dependencies and without what these recommend."""
    if packages:
        for apt in (['update', '-q'], ['install', '-qy', '--no-install-recommends', *packages]):
            _run(command_in(root, ['apt-get', *apt]), f'apt-get {" ".join(apt)} in {root}')


def command_in(
    root: pathlib.Path,
    command: Sequence[str],
    user: str = '0:0',
    binds: Mapping[pathlib.Path, str] | None = None,
) -> list[str]:
    """The command that runs another one in a root; nothing of it stays behind, mounts and processes included.

    Args:
      root: The folder with the system.
      command: What to run there, in `/`.
      user: Its user and group there, by name or number.
      binds: Folders of this machine, and their absolute places in the root.

    Returns:
      Arguments for `subprocess`. Give it `env=ENVIRONMENT`, or one made from it.
    """
    mounts = [text for place, inside in (binds or {}).items() for text in (str(place), inside)]
    enter = ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child']
    return [*enter, 'sh', '-ec', _ENTER, 'enter', str(root), user, *mounts, '--', *command]


def check_host() -> None:
    """Raises DebianRootError where this machine cannot make a root."""
    if os.geteuid() != 0:
        raise DebianRootError(
            'a bare Debian root is made with debootstrap and chroot, which need root; use sudo.'
        )
    for program, package in (('debootstrap', 'debootstrap'), ('unshare', 'util-linux')):
        if shutil.which(program) is None:
            raise DebianRootError(f'{program} is missing; install it: apt-get install {package}')
    if not KEYRING.exists():
        raise DebianRootError(f'{KEYRING} is missing; install it: apt-get install debian-archive-keyring')


def _bare(suite: str) -> pathlib.Path:
    """The cached system without further packages; made when it is not there."""
    kept = CACHE / suite
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f'unfinished-{suite}-') as folder:
            made = pathlib.Path(folder) / 'root'
            make = ['debootstrap', '--variant=minbase', f'--keyring={KEYRING}', suite, str(made), MIRROR]
            _run(make, ' '.join(make))
            made.rename(kept)
    return kept


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(
        command,
        env={**_proxies(), **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = ' | '.join(done.stdout.strip().splitlines()[-3:])
        raise DebianRootError(f'{name} failed: {last}')


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith('_proxy')}
