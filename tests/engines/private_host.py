"""Runs a command on a machine of its own: namespaces for its processes, its network and its mounts.

They end with the command, however it ends, and with them all that it has started and changed: no process, no network
interface and no mount is left. Nothing there reaches the machine's network.

Example:
  $ python -m tests.engines.private_host python -m pytest tests/engines/flink/faults.py
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

# The network namespace of the machine, for whoever must be outside of it.
OUTSIDE = 'TFX_EDGE_NETWORK_OUTSIDE'
_TOOLS = {'setpriv': 'util-linux', 'unshare': 'util-linux', 'mount': 'mount', 'ip': 'iproute2'}
# It is killed when this process is. Killed, it takes with it the process that it has started, and this one all others
# of its namespace.
_UNSHARE = (
    'setpriv',
    '--pdeathsig',
    'KILL',
    'unshare',
    '--net',
    '--mount',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
)


def main(command: Sequence[str]) -> int:
    """Runs a command.

    Args:
      command: what is run.

    Returns:
      Its exit status; 1 where the machine cannot give what is needed, after a line that says what.
    """
    if lack := what_is_missing():
        print(f'engines: {lack}', file=sys.stderr)
        return 1
    environment = {**os.environ, OUTSIDE: network()}
    child = subprocess.Popen([*_UNSHARE, '--', *command], env=environment, start_new_session=True)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        return child.wait()
    finally:
        child.kill()
        child.wait()


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def network() -> str:
    """The network namespace of this process."""
    return os.readlink('/proc/self/ns/net')


def what_is_missing() -> str:
    """What the machine lacks, and what to do; '' where it has all."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            return f'{tool} is not on this machine; install it: apt-get install {package}.'
    if os.geteuid() != 0:
        return 'network namespaces need root; run this as root.'
    tried = subprocess.run([*_UNSHARE, '--', 'true'], capture_output=True, text=True)
    if tried.returncode != 0:
        return (
            f'namespaces are not permitted here ({tried.stderr.strip()}); run this on a machine, or in a container, '
            'that may make them (docker run --privileged).'
        )
    return ''


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
