"""Starts executors in processes that can be killed, and says how they ended and what they left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence

from tests.soak.marks import FAILED, MARK, marked

# TFMA's own files, which name the folders that they lie in.
_NOT_COMPARED = ('evaluation',)
_SECONDS_TO_HANG = 240.0
_SECONDS_FOR_ORPHANS = 10.0


@dataclasses.dataclass(frozen=True)
class Task:
    """A component with its inputs.

    Attributes:
      component: its name.
      models: folders of Model artifacts by parameter.
      examples: folder of an Examples artifact.
      beam: arguments for Apache Beam.
    """

    component: str
    models: Mapping[str, str]
    examples: str
    beam: tuple[str, ...] = ()


@dataclasses.dataclass
class Place:
    """Where the runs of a task write: their output folders lie side by side, as those of TFX's executions do.

    Attributes:
      root: folder of the outputs.
      temporary: folder for temporary files.
      runs: how many have been started.
    """

    root: pathlib.Path
    temporary: pathlib.Path
    runs: int = 0

    def written(self, number: int) -> dict[str, bytes]:
        """The finished files of one run that are compared, by path below the outputs."""
        found = {}
        for path in sorted(self.root.glob(f'*/{number}/**/*')):
            key, inside = path.relative_to(self.root).parts[0], str(path.relative_to(self.root))
            if path.is_file() and '.unfinished' not in inside and key not in _NOT_COMPARED:
                found[inside.replace(f'{key}/{number}/', f'{key}/')] = _comparable(path)
        return found

    def drafts(self, number: int) -> list[str]:
        """Drafts of one run, which a failed step removes."""
        drafts = {*self.root.glob(f'*/{number}.unfinished'), *self.root.glob(f'*/{number}/**/*.unfinished')}
        return sorted(str(path.relative_to(self.root)) for path in drafts)


def _comparable(path: pathlib.Path) -> bytes:
    """The content; nothing of the page that shows `report.json`, which is compared itself."""
    if path.name == 'report.html':
        return b''
    return path.read_bytes()


@dataclasses.dataclass
class Run:
    """A step in a process of its own.

    Attributes:
      pid: of the process.
      mark: in the environment of all that it starts.
      log: file of what it prints.
      number: of its output folders.
      place: where it writes.
      server: which forked it.
      began: moment of its start.
    """

    pid: int
    mark: str
    log: pathlib.Path
    number: int
    place: Place
    server: StepServer
    began: float

    def kill(self, pid: int | None = None) -> None:
        """Kills its process, or one that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.pid, signal.SIGKILL)

    def children(self) -> list[int]:
        """What it has started and runs."""
        return marked(self.mark)

    def ended(self) -> int | None:
        """Its status, if it has ended."""
        return self.server.ended(self.pid)

    def wait(self) -> int | None:
        """Its status when it has ended; None where it hangs, and is killed with all that it started."""
        while (status := self.ended()) is None:
            if time.monotonic() - self.began > _SECONDS_TO_HANG:
                for pid in (self.pid, *self.children()):
                    self.kill(pid)
                while self.ended() is None:
                    time.sleep(0.1)
                return None
            time.sleep(0.02)
        return status

    def orphans(self) -> list[int]:
        """What it started and still runs ten seconds after its end; these are killed."""
        deadline = time.monotonic() + _SECONDS_FOR_ORPHANS
        while (left := self.children()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            self.kill(pid)
        return left

    def line(self) -> str:
        """What tfx-edge prints of its failure; '' where it printed nothing."""
        lines = self.log.read_text(errors='replace').splitlines()
        return next((line.removeprefix(FAILED) for line in reversed(lines) if line.startswith(FAILED)), '')


class StepServer:
    """The process that forks steps; see `step_server`.

    Args:
      folder: for the logs.

    Example:
      ```
      with running_server(folder) as server:
          run = server.start(Task('Pruner', {'model': 'trained'}, 'examples'), Place(outputs, temporary))
          run.wait()
      ```
    """

    def __init__(self, folder: pathlib.Path, process: subprocess.Popen[str]) -> None:
        self._folder, self._process = folder, process
        self._ended: dict[int, int] = {}
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._pending = ''

    def start(self, task: Task, place: Place) -> Run:
        """Starts the next run of a place."""
        place.runs += 1
        mark = uuid.uuid4().hex
        log = self._folder / f'{task.component}-{mark[:8]}.log'
        request = {
            **dataclasses.asdict(task),
            'output': str(place.root),
            'number': str(place.runs),
            'temporary': str(place.temporary),
            'mark': mark,
            'log': str(log),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        while not (answers := [each for each in self._answers() if isinstance(each, int)]):
            time.sleep(0.01)
        return Run(answers[0], mark, log, place.runs, place, self, time.monotonic())

    def ended(self, pid: int) -> int | None:
        """The status of a step, if it has ended."""
        self._answers()
        return self._ended.get(pid)

    def _answers(self) -> list[object]:
        assert self._process.stdout is not None
        assert self._process.poll() is None, 'the process that forks steps has ended'
        with contextlib.suppress(BlockingIOError):
            self._pending += os.read(self._process.stdout.fileno(), 1 << 16).decode()
        *lines, self._pending = self._pending.split('\n')
        answers = [json.loads(line) for line in lines]
        self._ended.update(dict(answer for answer in answers if isinstance(answer, list)))
        return answers


@contextlib.contextmanager
def running_server(folder: pathlib.Path, environment: Mapping[str, str]) -> Iterator[StepServer]:
    """Starts the process that forks steps, and ends it.

    Args:
      folder: for the logs.
      environment: of the process.
    """
    command: Sequence[str] = [sys.executable, '-W', 'ignore', '-m', 'tests.soak.step_server']
    with subprocess.Popen(
        command,
        env={**environment, MARK: 'none'},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield StepServer(folder, process)
        process.kill()
