"""A console for a few lines of progress, while what TFX and its libraries print goes to a file.

TensorFlow, Beam and LiteRT write to the file descriptors themselves, from C++ and from child processes,
so the descriptors are redirected, not Python's streams.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TextIO

from tfx_edge.pipelines.failure import CommandError, one_line


class Progress:
    """Prints lines with the time since the start in front of them.

    Args:
      stream: where to.

    Example:
      >>> Progress(sys.stdout).line('Trainer: started')
       0:00  Trainer: started
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._start = time.monotonic()

    def line(self, text: str) -> None:
        """Prints one line."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        self.text(f'{minutes:2d}:{seconds:02d}  {text}')

    def text(self, text: str) -> None:
        """Prints text as it is. A closed console (`| head`) does not end a run."""
        with contextlib.suppress(BrokenPipeError):
            print(text, file=self.stream, flush=True)


@contextlib.contextmanager
def quiet(log: str | os.PathLike[str], option: str = '--log FILE') -> Iterator[Progress]:
    """Sends all output of the process to a file, but for what is printed through the yielded object.

    The INFO lines of tfx-edge's own loggers appear in both.

    Args:
      log: the file; its folder is made.
      option: the command-line option that names another file, for the error.

    Yields:
      The console.

    Raises:
      CommandError: the file cannot be written; or the body failed, and the traceback is in the file.

    Example:
      >>> with quiet('run.log') as progress:
      ...   progress.line('loading TFX')
       0:00  loading TFX
    """
    path = pathlib.Path(log)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('w', encoding='utf-8')
    except OSError as error:
        raise CommandError(
            f'{path} cannot be written ({error.strerror}); name a place that can be, by {option}.'
        ) from error
    with file, _descriptors_to(file.fileno()) as stream:
        progress = Progress(stream)
        with _loggers(progress):
            try:
                yield progress
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                raise CommandError(one_line(error), str(path)) from error


@contextlib.contextmanager
def _descriptors_to(target: int) -> Iterator[TextIO]:
    """Points descriptors 1 and 2 at a file; yields a stream to where 1 pointed."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    try:
        for descriptor in kept:
            os.dup2(target, descriptor)
        stream = os.fdopen(os.dup(kept[1]), 'w', encoding='utf-8')
        try:
            yield stream
        finally:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)


@contextlib.contextmanager
def _loggers(progress: Progress) -> Iterator[None]:
    """INFO lines of all loggers to the file, those of tfx-edge to the console too."""
    from absl import logging as absl_logging

    to_file = logging.StreamHandler(sys.stderr)
    to_file.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    to_console = _ConsoleHandler(progress)
    root, own = logging.getLogger(), logging.getLogger('tfx_edge')
    levels = root.level, own.level, absl_logging.get_verbosity()
    root.addHandler(to_file)
    own.addHandler(to_console)
    root.setLevel(logging.INFO)
    own.setLevel(logging.INFO)
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(to_file)
        own.removeHandler(to_console)
        root.setLevel(levels[0])
        own.setLevel(levels[1])
        absl_logging.set_verbosity(levels[2])


class _ConsoleHandler(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.line(f'  {record.getMessage()}')
