"""Installs and runs the demo on bare Debian machines: `make test-fresh`, or `make test-fresh ARGS=trixie` for one."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable

from tests import debian_root
from tests.fresh import needs, settings
from tests.fresh.machine import Machine

_START = time.monotonic()
# Without a compiler make ends within a second; the rest is the entry into the root on a busy machine.
_AT_ONCE = 3.0


class FreshError(Exception):
    """What README.md says does not hold; the message says what was expected, in one line."""


@dataclasses.dataclass(frozen=True)
class Release:
    """A release of Debian: its name, and the Python that `make demo` takes there."""

    suite: str
    python: str

    @property
    def is_tfx116(self) -> bool:
        return self.python == '3.10'


RELEASES = (Release('bookworm', '3.10'), Release('trixie', '3.13'))


def main() -> None:
    """Raises SystemExit with a line that says what is missing or what failed."""
    parser = argparse.ArgumentParser(prog='make test-fresh', description=__doc__)
    names = [release.suite for release in RELEASES]
    parser.add_argument('suites', nargs='*', default=names, help=f'of {", ".join(names)}; all by default')
    asked = parser.parse_args().suites
    if unknown := set(asked) - set(names):
        parser.error(f'{", ".join(sorted(unknown))}: expected {" or ".join(names)}')
    # Folders are removed and processes ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        debian_root.check_host()
        wanted = needs.read(needs.README.read_text())
        for release in RELEASES:
            if release.suite in asked:
                with tempfile.TemporaryDirectory(prefix=f'tfx-edge-{release.suite}-') as folder:
                    _try(release, wanted, pathlib.Path(folder) / 'root')
    except (FreshError, ValueError, debian_root.DebianRootError) as error:
        sys.exit(f'make test-fresh: {error}')
    except KeyboardInterrupt:
        sys.exit(130)


def _try(release: Release, wanted: needs.Needs, folder: pathlib.Path) -> None:
    report = _reporter(release.suite)
    report(f'a bare root with {" ".join(wanted.always)}')
    machine = Machine(release.suite, wanted.always, folder)
    report('an ordinary user has cloned the repository')
    _refuses_without_compiler(machine, report)
    if release.is_tfx116:
        report(f'installing {" ".join(wanted.for_tfx116)}')
        machine.install(wanted.for_tfx116)
        _find_python(machine, release.python, report)
    _runs_the_demo(machine, release, report)


def _refuses_without_compiler(machine: Machine, report: Callable[[str], None]) -> None:
    """Python 3.10 is asked for explicitly, so that this holds on every release."""
    if compilers := [name for name in ('g++', 'gcc', 'c++', 'cc', 'clang') if machine.has(name)]:
        raise FreshError(f'the bare root has a compiler already: {", ".join(compilers)}')
    lines: list[str] = []
    start = time.monotonic()
    status = machine.run('make demo PYTHON=3.10', lines.append)
    seconds = time.monotonic() - start
    if status == 0 or len(lines) != 1 or 'apt-get install g++' not in lines[0] or seconds > _AT_ONCE:
        raise FreshError(
            f'without a compiler Python 3.10 should stop in one line with the remedy within {_AT_ONCE:.0f} s; '
            f'after {seconds:.1f} s and with status {status} it wrote: {" | ".join(lines)}'
        )
    report(f'make demo PYTHON=3.10 stopped after {seconds:.2f} s: {lines[0]}')


def _find_python(machine: Machine, version: str, report: Callable[[str], None]) -> None:
    if settings.uv_reaches_its_pythons():
        return
    folder = settings.python_of_the_host(version)
    if folder is None:
        raise FreshError(
            f'uv cannot reach GitHub for Python {version}, and this machine has none to hand in; '
            f'install one with pyenv: pyenv install {version}'
        )
    machine.hand_in_python(version, folder)
    report(f"uv cannot reach GitHub: using the host's {version} in {folder}")
    written: list[str] = []
    if machine.run(f'python{version} -c "import ctypes, sqlite3, ssl"', written.append):
        raise FreshError(f"the host's Python {version} does not run in the root: {' | '.join(written[-2:])}")


def _runs_the_demo(machine: Machine, release: Release, report: Callable[[str], None]) -> None:
    written: list[str] = []

    def show(line: str) -> None:
        written.append(line)
        report(f'  {line}')

    start = time.monotonic()
    status = machine.run('make demo', show)
    if status or 'verdict: BLESSED' not in written:
        raise FreshError(
            f'make demo on {release.suite} ended with status {status} and without a blessed model'
        )
    versions: list[str] = []
    machine.run('.venv/bin/python --version && du -sh .venv | cut -f1', versions.append)
    if not versions[0].startswith(f'Python {release.python}.'):
        raise FreshError(f'make demo on {release.suite} took {versions[0]}; expected {release.python}')
    report(
        f'make demo passed in {time.monotonic() - start:.0f} s with {versions[0]}; .venv has {versions[1]}'
    )


def _reporter(suite: str) -> Callable[[str], None]:
    def report(line: str) -> None:
        seconds = int(time.monotonic() - _START)
        print(f'{seconds // 60}:{seconds % 60:02d}  {suite}: {line}', flush=True)

    return report


if __name__ == '__main__':
    main()
