"""The processes that a browser starts, and what they leave."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import tempfile
import time
from collections.abc import Iterator

import pytest

from tfx_edge.components.core.devices import chromium

# How long processes that were ended may take to be gone.
_PATIENCE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Browsers:
    """Browsers that wrote their process's number into a file before they started."""

    version: str
    record: pathlib.Path
    temporary: pathlib.Path

    def started(self) -> list[int]:
        """The numbers of those that opened a page."""
        return [int(line) for line in self.record.read_text().split()] if self.record.exists() else []

    def left(self) -> list[str]:
        """Commands of their processes that still run after some patience: of their sessions, or with their files."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := [command for _, command in self._processes()]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def pages(self) -> list[int]:
        """Processes that show a page."""
        return [pid for pid, command in self._processes() if '--type=renderer' in command]

    def kill_pages(self) -> None:
        """Kills them once the browser has started them, until the browser is gone."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.pages() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1)
        while pages := self.pages():
            for pid in pages:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)

    def temporary_files(self) -> list[str]:
        """What is in the temporary folder."""
        return sorted(path.name for path in self.temporary.iterdir())

    def _processes(self) -> list[tuple[int, str]]:
        sessions, found = self.started(), []
        for folder in pathlib.Path('/proc').iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                state, _, _, session = (folder / 'stat').read_text().rpartition(')')[2].split()[:4]
                command = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
                ours = int(session) in sessions or str(self.temporary) in command
                if ours and state != 'Z' and int(folder.name) != os.getpid():
                    found.append((int(folder.name), command[:300]))
        return found


def recorded_browsers(
    folder: pathlib.Path, temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Browsers:
    """Makes what starts a browser write down its number.

    Args:
      folder: for that.
      temporary: the folder for temporary files.
      monkeypatch: of the test.

    Returns:
      The browsers that will be started.
    """
    real = chromium.find()
    browsers = Browsers(real.version, folder / 'started', temporary)
    command = folder / 'recorded_browser'
    command.write_text(
        f'#!/bin/sh\ntest "$1" = --version || echo $$ >>{browsers.record}\nexec {real.command} "$@"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv(chromium.VARIABLE, str(command))
    return browsers


@contextlib.contextmanager
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """An empty temporary folder for this process and its children, whose path is short enough for Chromium."""
    with tempfile.TemporaryDirectory(dir='/tmp') as folder:
        monkeypatch.setenv('TMPDIR', folder)
        monkeypatch.setattr(tempfile, 'tempdir', None)
        yield pathlib.Path(folder)
