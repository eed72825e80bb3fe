"""A bare machine with a clone of the repository, in which an ordinary user calls make."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence

from tests import debian_root, processes
from tests.fresh import settings

CHECKOUT = pathlib.Path(__file__).parents[2]
_USER = 'builder'
_CLONE = f'/home/{_USER}/tfx-edge'


class Machine:
    """A Debian with the given packages and the tracked files of this checkout.

    Args:
      suite: Debian's name of the release.
      packages: All that is installed besides the bare system.
      folder: Where to make it.
    """

    def __init__(self, suite: str, packages: Sequence[str], folder: pathlib.Path) -> None:
        self._root = debian_root.debian_root(suite, packages, folder)
        self._binds: dict[pathlib.Path, str] = {}
        self._environment = {**debian_root.ENVIRONMENT, **settings.hand_in(self._root)}
        self._as_root(['useradd', '--create-home', '--shell', '/bin/bash', _USER])
        clone(pathlib.Path(f'{self._root}{_CLONE}'))
        self._as_root(['chown', '-R', f'{_USER}:', _CLONE])

    def install(self, packages: Sequence[str]) -> None:
        """Installs more packages."""
        debian_root.install(self._root, packages)

    def hand_in_python(self, version: str, folder: pathlib.Path) -> None:
        """Shows an interpreter of this machine there, in the same place: it looks for its library in that."""
        self._binds[folder] = str(folder)
        # Root's home is closed to others.
        for parent in reversed(folder.parents[:-1]):
            inside = pathlib.Path(f'{self._root}{parent}')
            inside.mkdir(exist_ok=True)
            inside.chmod(inside.stat().st_mode | 0o111)
        link = self._root / 'usr' / 'local' / 'bin' / f'python{version}'
        link.symlink_to(folder / 'bin' / f'python{version}')

    def has(self, program: str) -> bool:
        """Whether a program is on the user's PATH."""
        return not self.run(f'command -v {program}', lambda line: None)

    def run(self, command: str, report: Callable[[str], None]) -> int:
        """Runs a command of the shell in the clone, as the user, and reports each line that it writes.

        Returns:
          Its exit status.
        """
        enter = debian_root.command_in(
            self._root, ['bash', '-c', f'cd {_CLONE} && {command}'], f'{_USER}:{_USER}', self._binds
        )
        environment = {**self._environment, 'HOME': f'/home/{_USER}', 'USER': _USER, 'LOGNAME': _USER}
        process = subprocess.Popen(
            enter,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                report(line.rstrip('\n'))
            return process.wait()
        finally:
            _end(process)

    def _as_root(self, command: Sequence[str]) -> None:
        subprocess.run(debian_root.command_in(self._root, command), env=debian_root.ENVIRONMENT, check=True)


def _end(process: subprocess.Popen[str]) -> None:
    """Kills the first process of the root, if any is left there; `unshare` ends when all others have ended too."""
    first = [] if process.poll() is not None else processes.below(process.pid)[:1]
    for pid in first:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not first:
        process.kill()
    process.wait()


def clone(target: pathlib.Path) -> None:
    """Copies the tracked files as they lie here, changes that are not committed included."""
    tracked = subprocess.run(
        ['git', '-c', f'safe.directory={CHECKOUT}', 'ls-files', '-z'],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, tracked.split('\0')):
        if (CHECKOUT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target / name)
