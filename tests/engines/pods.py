"""Pods of a cluster on one machine: each a network namespace with a name that the others find it by.

It changes mounts and network of where it runs: see private_host.py."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence

from tests.engines import private_host

_BRIDGE = 'edge0'
_NETWORK = '10.66.0'
# A pod's hostname is its name.
_NAMED = ('unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"')


class Pods:
    """The network of the pods; this process is in it too, at `address`.

    Args:
      folder: for the logs.

    Raises:
      RuntimeError: this is not a private host.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        if os.environ.get(private_host.OUTSIDE, private_host.network()) == private_host.network():
            raise RuntimeError(
                'pods change the network and the mounts of the machine; run these tests by make test-flink or make '
                'test-prism, which give them a machine of their own.'
            )
        self.folder = folder
        self.address = f'{_NETWORK}.1'
        self._names: dict[str, str] = {}
        _ip('link', 'set', 'lo', 'up')
        os.makedirs('/run/netns', exist_ok=True)
        _run('mount', '-t', 'tmpfs', 'pods', '/run/netns')
        _ip('link', 'add', 'name', _BRIDGE, 'type', 'bridge')
        _ip('addr', 'add', f'{self.address}/24', 'dev', _BRIDGE)
        _ip('link', 'set', _BRIDGE, 'up')
        self._hosts = folder / 'hosts'
        self._write_hosts()
        _run('mount', '--bind', str(self._hosts), '/etc/hosts')

    def pod(self, name: str) -> Pod:
        """Makes a pod; a Service of the same name leads to it."""
        number = len(self._names) + 2
        namespace, inner, outer = f'pod{number}', f'eth{number}', f'veth{number}'
        address = self._names[name] = f'{_NETWORK}.{number}'
        _ip('netns', 'add', namespace)
        _ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner)
        _ip('link', 'set', inner, 'netns', namespace)
        _ip('link', 'set', outer, 'master', _BRIDGE)
        _ip('link', 'set', outer, 'up')
        for arguments in (
            ('addr', 'add', f'{address}/24', 'dev', inner),
            ('link', 'set', inner, 'up'),
            ('link', 'set', 'lo', 'up'),
        ):
            _ip('netns', 'exec', namespace, 'ip', *arguments)
        self._write_hosts()
        return Pod(name, address, namespace, self.folder)

    def own(self) -> Pod:
        """The pod of this process: what runs there is at localhost for it."""
        return Pod('localhost', '127.0.0.1', None, self.folder)

    def _write_hosts(self) -> None:
        """Written in place: a file that is mounted cannot be replaced."""
        lines = [f'127.0.0.1 localhost {socket.gethostname()}']
        lines += [f'{address} {name}' for name, address in self._names.items()]
        self._hosts.write_text('\n'.join(lines) + '\n')


@dataclasses.dataclass(frozen=True)
class Pod:
    """One pod; processes that it runs reach each other at localhost.

    Attributes:
      name: others find it by this.
      address: likewise.
      namespace: the name of its network namespace; None for that of this process.
      folder: for its logs.
    """

    name: str
    address: str
    namespace: str | None
    folder: pathlib.Path

    def start(
        self, title: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Container:
        """Starts a process in it."""
        log = self.folder / f'{self.name}-{title}.log'
        inside = ['ip', 'netns', 'exec', self.namespace, *_NAMED, self.name] if self.namespace else []
        with log.open('ab') as file:
            process = subprocess.Popen(
                [*inside, *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return Container(f'{self.name}/{title}', process, log)


@dataclasses.dataclass(frozen=True)
class Container:
    """A process in a pod.

    Attributes:
      name: of the pod and of the process.
      process: the process itself.
      log: what it prints.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: pathlib.Path

    def check(self) -> None:
        """Raises an error with the end of its log when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(
                f'{self.name} ended with status {self.process.returncode}: '
                f'{self.log.read_text(errors="replace")[-3000:]}'
            )

    def end(self, number: int, seconds: float = 30) -> None:
        """Sends a signal, and waits until it has ended."""
        self.process.send_signal(number)
        self.process.wait(seconds)


def wait_for_port(address: str, port: int, containers: Sequence[Container], seconds: float = 120) -> None:
    """Waits until somebody listens, as a readiness probe does.

    Raises:
      RuntimeError: one of the containers has ended.
      TimeoutError: nobody listens.
    """
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((address, port)) == 0:
                return
        for container in containers:
            container.check()
        if time.monotonic() > deadline:
            names = ', '.join(container.name for container in containers)
            raise TimeoutError(f'nobody listens at {address}:{port} after {seconds:.0f} s ({names})')
        time.sleep(0.2)


def _ip(*arguments: str) -> None:
    _run('ip', *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f'{" ".join(command)}: {done.stderr.strip()}')
