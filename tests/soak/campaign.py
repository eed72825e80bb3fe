"""What is done to steps, and what may not come of it."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from tests.soak.marks import command
from tests.soak.runs import Place, Run, StepServer, Task

# Of the kills, how many go to what a step has started, where there is something.
_SHARE_OF_CHILDREN = 0.4
_MULTI_PROCESSING = ('--direct_running_mode=multi_processing', '--direct_num_workers=2')
_BEAM_WORKER = 'sdk_worker_main'
# What a disk holds at first, in KiB: less than a model or a file that is converted.
_FULL_OUTPUTS, _FULL_TEMPORARY = 48, 4
_EMPTIED = 1 << 20


@dataclasses.dataclass
class Row:
    """What came of one kind of fault on one component."""

    fault: str
    component: str
    runs: int = 0
    went_on: int = 0
    failed: int = 0
    half_written: int = 0
    hung: int = 0
    orphans: int = 0
    differing: int = 0
    without_line: int = 0

    @property
    def bad(self) -> int:
        """How often something came of it that may not."""
        return self.half_written + self.hung + self.orphans + self.differing + self.without_line


@dataclasses.dataclass(frozen=True)
class _Undisturbed:
    written: dict[str, bytes]
    seconds: float


class Campaign:
    """Disturbs steps, and compares what they leave with undisturbed ones.

    Args:
      server: starts steps.
      tasks: the steps.
      folder: for what they write.
      seed: of the moments and of what is killed.
    """

    def __init__(self, server: StepServer, tasks: Sequence[Task], folder: pathlib.Path, seed: int) -> None:
        self._server, self._tasks, self._folder = server, {task.component: task for task in tasks}, folder
        self._random = random.Random(seed)
        self._undisturbed: dict[tuple[str, tuple[str, ...]], _Undisturbed] = {}
        self._places = 0
        self.rows: dict[tuple[str, str], Row] = {}
        self.lines: dict[str, int] = {}

    def kills(self, count: int) -> None:
        """SIGKILL to the step, or to what it has started, at a random moment; then the step runs again.

        Half of the times it is killed once more before.
        """
        for number in range(count):
            task = [*self._tasks.values()][number % len(self._tasks)]
            undisturbed, place = self._measure(task), self._place()
            with self._row('kill -9', task) as row:
                self._killed(task, place, undisturbed.seconds, row)
                if self._random.random() < 0.5:
                    self._killed(task, place, undisturbed.seconds, row)
                self._finish(task, place, row)

    def full_disks(self, components: Sequence[str], *, temporary: bool) -> None:
        """A disk that is full where a step writes its outputs, or its temporary files; then it has space."""
        for component in components:
            task, place = self._tasks[component], self._place()
            self._measure(task)
            disk = place.temporary if temporary else place.root
            fault = f'disk full: {"temporary files" if temporary else "outputs"}'
            with (
                self._row(fault, task) as row,
                _small_disk(disk, _FULL_TEMPORARY if temporary else _FULL_OUTPUTS) as more_space,
            ):
                # A step that needs no temporary file may do without.
                self._ended(self._server.start(task, place), row, may_go_on=temporary)
                more_space()
                self._finish(task, place, row)

    def pairs(self, components: Sequence[str], count: int) -> None:
        """The same step twice at a time, in folders side by side."""
        for number in range(count):
            task = self._tasks[components[number % len(components)]]
            seconds, place = self._measure(task).seconds, self._place()
            with self._row('twice at a time', task) as row:
                first = self._server.start(task, place)
                time.sleep(self._random.uniform(0, seconds / 2))
                for run in (first, self._server.start(task, place)):
                    self._ended(run, row, may_fail=False)

    def lost_workers(self, components: Sequence[str], count: int) -> None:
        """One of Beam's two worker processes is killed; then the step runs again."""
        for number in range(count):
            task = dataclasses.replace(
                self._tasks[components[number % len(components)]], beam=_MULTI_PROCESSING
            )
            self._measure(task)
            place = self._place()
            with self._row('Beam worker killed', task) as row:
                run = self._server.start(task, place)
                while run.ended() is None and len(workers := _workers(run)) < 2:
                    time.sleep(0.05)
                time.sleep(self._random.uniform(0, 3))
                run.kill(self._random.choice(workers))
                self._ended(run, row)
                self._finish(task, place, row)

    def _place(self) -> Place:
        self._places += 1
        place = Place(
            self._folder / str(self._places) / 'outputs', self._folder / str(self._places) / 'temporary'
        )
        place.root.mkdir(parents=True)
        place.temporary.mkdir()
        return place

    def _measure(self, task: Task) -> _Undisturbed:
        """What the step writes and how long it takes when nothing disturbs it."""
        # A file is the same from any number of workers.
        key = task.component, task.beam
        if key not in self._undisturbed:
            place, began = self._place(), time.monotonic()
            run = self._server.start(task, place)
            if run.wait() != 0:
                raise RuntimeError(f'{task.component} fails undisturbed: {run.line()} ({run.log})')
            self._undisturbed[key] = _Undisturbed(place.written(run.number), time.monotonic() - began)
        return self._undisturbed[key]

    @contextlib.contextmanager
    def _row(self, fault: str, task: Task) -> Iterator[Row]:
        row = self.rows.setdefault((fault, task.component), Row(fault, task.component))
        bad = row.bad
        yield row
        mark = '  <- not right' if row.bad > bad else ''
        print(f'{fault}, {task.component}: {row.runs} runs so far{mark}', flush=True)

    def _killed(self, task: Task, place: Place, seconds: float, row: Row) -> None:
        run = self._server.start(task, place)
        time.sleep(self._random.uniform(0, seconds))
        children = [] if self._random.random() > _SHARE_OF_CHILDREN else run.children()
        if children:
            run.kill(self._random.choice(children))
            self._ended(run, row)
            return
        run.kill()
        self._ended(run, row, has_line=False)

    def _finish(self, task: Task, place: Place, row: Row) -> None:
        """The step again, with nothing that disturbs it."""
        self._ended(self._server.start(task, place), row, may_fail=False)

    def _ended(
        self, run: Run, row: Row, *, may_go_on: bool = True, may_fail: bool = True, has_line: bool = True
    ) -> None:
        """Counts how a run ended, and what it left."""
        status = run.wait()
        row.runs += 1
        if status is None:
            row.hung += 1
            self._note(f'{row.component} hung ({run.log})')
            return
        orphans = [command(pid) for pid in run.orphans()]
        if orphans:
            row.orphans += 1
            self._note(f'{row.component} left {orphans[0][:100]} ({run.log})')
        expected = next(each.written for key, each in self._undisturbed.items() if key[0] == row.component)
        written = run.place.written(run.number)
        if status == 0:
            row.went_on += 1
            if written != expected or not may_go_on:
                row.differing += 1
                names = sorted(
                    name for name in {*written, *expected} if written.get(name) != expected.get(name)
                )
                self._note(f'{row.component} went on with other bytes: {names[:3]} ({run.log})')
            return
        row.failed += 1
        half = _half_written(written, expected) or (has_line and run.place.drafts(run.number))
        if half:
            row.half_written += 1
            self._note(f'{row.component} left {half} ({run.log})')
        if has_line:
            line = run.line()
            row.without_line += not line or not may_fail
            self._note(line or f'{row.component} printed no line (status {status}, {run.log})')

    def _note(self, line: str) -> None:
        self.lines[line] = self.lines.get(line, 0) + 1


def _half_written(written: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Outputs of which a part is there, or that differ."""

    def of_key(files: dict[str, bytes], key: str) -> dict[str, bytes]:
        return {name: content for name, content in files.items() if name.partition('/')[0] == key}

    keys = {name.partition('/')[0] for name in written}
    return sorted(key for key in keys if of_key(written, key) != of_key(expected, key))


def _workers(run: Run) -> list[int]:
    commands = {pid: command(pid) for pid in run.children()}
    return [pid for pid, text in commands.items() if _BEAM_WORKER in text and not text.startswith('/bin/sh')]


@contextlib.contextmanager
def _small_disk(folder: pathlib.Path, size: int) -> Iterator[Callable[[], object]]:
    """A disk of its own at a folder that is full at once; yields what makes space (needs root)."""
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', str(folder)], check=True)
    try:
        yield lambda: subprocess.run(['mount', '-o', f'remount,size={_EMPTIED}k', str(folder)], check=True)
    finally:
        subprocess.run(['umount', '--lazy', str(folder)], check=True)
