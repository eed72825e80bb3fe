"""Whose a folder on the shared volume is, and whether that process still works, as a file beside the folder records."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import threading

from tfx_edge.pipelines.kubeflow.log_line import log

SUFFIX = '.owner'
BEAT_SECONDS = 10.0
# Twelve beats that were not written: the process is gone, or cannot reach the volume.
SILENT_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process that works on a folder.

    Attributes:
      execution: of the step; a second process with the same execution means that the first has ended.
      job: name of the step's Beam jobs.
      host: the boot of the kernel and the PID namespace that `process` belongs to.
      process: its PID.
      started: when it started, in the kernel's ticks, since PIDs are used again.
    """

    execution: str
    job: str
    host: str
    process: int
    started: int

    @classmethod
    def of_this_process(cls, execution: str, job: str) -> Owner:
        process = os.getpid()
        return cls(execution, job, _host(), process, _started(process) or 0)

    def is_gone(self, execution: str, silent_seconds: float) -> bool:
        """Whether the process has ended.

        Args:
          execution: of the step that calls.
          silent_seconds: how long ago the owner wrote its last beat.
        """
        if execution and self.execution == execution:
            return True
        if self.host == _host():
            return _started(self.process) != self.started
        return silent_seconds > SILENT_SECONDS


def read(path: pathlib.Path) -> Owner | None:
    """The owner that a file names; None if there is no such file to read, or it holds something else."""
    try:
        return Owner(**json.loads(path.read_text(encoding='utf-8')))
    except (FileNotFoundError, PermissionError, ValueError, TypeError):
        return None


def write(path: pathlib.Path, owner: Owner) -> None:
    """Writes an owner's file: whole, or not at all."""
    draft = path.with_name(f'{path.name}.unfinished')
    try:
        draft.write_text(json.dumps(dataclasses.asdict(owner), sort_keys=True), encoding='utf-8')
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class Beats:
    """Sets the time of an owner's file every few seconds, until it is stopped.

    Args:
      path: the file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name='folder-owner', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            try:
                os.utime(self._path)
            except OSError as error:
                log(f'tfx-edge: {self._path} cannot be written ({error.strerror})')


def _host() -> str:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return f'{boot} {os.readlink("/proc/self/ns/pid")}'


def _started(process: int) -> int | None:
    """When a process started; None if there is none, or it has ended and was not waited for."""
    try:
        fields = pathlib.Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == 'Z' else int(fields[19])
