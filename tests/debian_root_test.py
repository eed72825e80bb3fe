"""What enters a root leaves nothing behind; what cannot be made is refused in one line."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import debian_root, processes

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='mounts and chroot need root')


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """The programs of this machine in an otherwise empty system; `usr` is mounted where it is entered."""
    folder = tmp_path / 'root'
    for name in ('', 'dev', 'proc', 'sys', 'tmp'):
        (folder / name).mkdir()
    for name in ('bin', 'lib', 'lib64'):
        (folder / name).symlink_to(f'usr/{name}')
    return folder


def entered(root: pathlib.Path, script: str, user: str = '0:0') -> list[str]:
    return debian_root.command_in(root, ['sh', '-c', script], user, {pathlib.Path('/usr'): '/usr'})


@needs_root
def test_command_sees_its_own_processes_and_the_folders_that_are_bound(root: pathlib.Path) -> None:
    command = entered(root, 'ls -d /proc/[0-9]* /home /usr/bin; id -u; echo >/dev/null', '2000:2000')
    done = subprocess.run(command, env=debian_root.ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ['/usr/bin', '2000']
    assert len([line for line in done.stdout.split() if line.startswith('/proc/')]) <= 2
    assert '/home' not in done.stdout


@needs_root
def test_mounts_and_processes_end_with_the_command(root: pathlib.Path) -> None:
    mounts = pathlib.Path('/proc/self/mounts').read_text()
    command = entered(root, 'sleep 4321 & echo started >/tmp/started; wait')
    process = subprocess.Popen(command, env=debian_root.ENVIRONMENT)
    try:
        deadline = time.monotonic() + 30
        while not (root / 'tmp' / 'started').exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        inside = processes.below(process.pid)
        assert pathlib.Path('/proc/self/mounts').read_text() == mounts
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(inside) >= 2
    while any(processes.is_alive(pid) for pid in inside):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list((root / 'proc').iterdir()) == []
    assert list((root / 'usr').iterdir()) == []


def test_machine_without_the_tools_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'tests.fresh'],
        cwd=pathlib.Path(__file__).parents[1],
        env={'PATH': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr.startswith('make test-fresh: ')
    assert done.stderr.count('\n') == 1
    assert ('apt-get install debootstrap' if os.geteuid() == 0 else 'sudo') in done.stderr


def test_folder_that_is_there_already_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(debian_root.DebianRootError, match='is there already'):
        debian_root.debian_root('trixie', [], tmp_path)
