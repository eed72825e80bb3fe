"""Chromium without a window, as a child that ends with what asked for it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

from tfx_edge.components.core.devices.absent_tool import AbsentTool

VARIABLE = 'TFX_EDGE_CHROMIUM'

_COMMANDS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_REMEDY = f'run `apt-get install chromium`, or set {VARIABLE} to the path of Chromium or Chrome'
_VERSION = re.compile(r'(?:Chromium|Google Chrome)\S* \d[\d.]*')
_TIMEOUT_SECONDS = 60.0
# How long it may take to end by itself.
_END_SECONDS = 5.0
_REMOVALS = 50
_OPTIONS = (
    '--headless=new',
    '--disable-gpu',
    # Memory that is shared is in the temporary folder: containers often have 64 MB in /dev/shm.
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--no-default-browser-check',
    '--no-proxy-server',
    '--disable-extensions',
    '--disable-sync',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-renderer-backgrounding',
    '--disable-breakpad',
    # The page reaches this host alone.
    '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
    '--remote-debugging-pipe',
)
# Chromium takes commands from descriptor 3 and answers on 4, and ends where 3 does: also when this process is killed.
_SHELL = ('/bin/sh', '-c', 'exec "$0" "$@" 3<&0 4>/dev/null')


@dataclasses.dataclass(frozen=True)
class Chromium:
    """An installed browser: the path of its command, and its name with its version."""

    command: str
    version: str


class Running:
    """A browser that runs; `ended` says whether and how it ended."""

    def __init__(self, child: subprocess.Popen[bytes], log: pathlib.Path) -> None:
        self._child = child
        self._log = log

    def ended(self) -> int | None:
        """Its exit status, minus the number of a signal that ended it, or None while it runs."""
        return self._child.poll()

    def said(self) -> str:
        """All that it has written to stderr."""
        return self._log.read_text('utf-8', 'replace')


def find() -> Chromium:
    """The browser that TFX_EDGE_CHROMIUM names; without it the first of the usual commands on the PATH.

    Raises:
      AbsentTool: there is none, or what the variable names does not say that it is one.

    Example:
      ```
      chromium.find().version  # 'Chromium 156.0.8078.108'
      ```
    """
    named = os.environ.get(VARIABLE)
    for name in [named] if named else _COMMANDS:
        command = shutil.which(name)
        version = _version(command) if command else ''
        if command and version:
            return Chromium(os.path.abspath(command), version)
    where = f'{VARIABLE} names {named}, where it is not' if named else 'it is not installed'
    raise AbsentTool(f'Chromium: {where}; {_REMEDY}')


def _version(command: str) -> str:
    """Its version, '' where the command is another program's, or a place-holder that only says how to install it."""
    try:
        done = subprocess.run(
            [command, '--version'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    found = _VERSION.search(done.stdout)
    return found[0] if found and done.returncode == 0 else ''


@contextlib.contextmanager
def opened(browser: Chromium, address: str) -> Iterator[Running]:
    """Opens a page; the browser and all of its processes are ended afterwards, and its files removed.

    Args:
      browser: that is started, with a profile of its own.
      address: of the page. It is not in the command line, which others on the host can read.

    Returns:
      The running browser.
    """
    with _folder() as folder:
        log = folder / 'stderr'
        command = [*_SHELL, browser.command, *_OPTIONS, f'--user-data-dir={folder / "profile"}']
        if os.geteuid() == 0:
            # Chromium refuses to run as root with its sandbox; the page that it opens is ours, and no other.
            command.append('--no-sandbox')
        with open(log, 'wb') as stderr:
            child = subprocess.Popen(
                [*command, 'about:blank'],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, 'TMPDIR': str(folder)},
                start_new_session=True,
            )
        try:
            _navigate(child, address)
            yield Running(child, log)
        finally:
            _end(child)


def _navigate(child: subprocess.Popen[bytes], address: str) -> None:
    command = {'id': 1, 'method': 'Target.createTarget', 'params': {'url': address}}
    assert child.stdin is not None
    # A browser that has ended is found by its status.
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(json.dumps(command).encode() + b'\0')
        child.stdin.flush()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Lets the browser end by itself, then ends what is left of its group."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    """A temporary folder. Processes that were ended just now may write into it while it is removed."""
    # The name is short: Chromium makes a socket in it, whose path may have 107 characters.
    folder = pathlib.Path(tempfile.mkdtemp(prefix='tfx_edge_'))
    try:
        yield folder
    finally:
        for _ in range(_REMOVALS):
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
                break
            time.sleep(0.1)
        else:
            shutil.rmtree(folder)
