"""Runs a TFX pipeline on this machine with TFX's LocalDagRunner, and prints what it is doing."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

from tfx_edge.components.core.lost_workers import lost_workers_raised
from tfx_edge.pipelines.console import Progress

# Beam's direct runner otherwise tries Prism, which is downloaded when it is first used.
BEAM_ARGS = ('--runner=FnApiRunner', '--direct_running_mode=in_memory')


def run_locally(pipeline: Any, progress: Progress) -> str:
    """Runs a pipeline's components one after another.

    A component's failure ends the run, but for those that an EdgeSelector further down can do without.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.
      progress: gets a line when a component starts, ends, fails, is skipped or is found in the cache.

    Returns:
      The id of the run in ML Metadata.

    Raises:
      EnvironmentFailure: a worker process of Beam's was killed.
      Exception: whatever a component raised; the first error, if no EdgeSelector can run any more.

    Example:
      >>> with quiet('run.log') as progress:
      ...   run_locally(create_pipeline(...), progress)
       0:10  ImportExampleGen: started
       0:21  ImportExampleGen: finished in 11 s
    """
    from tfx_edge.pipelines.local_runs import LocalRun  # takes many seconds

    run = LocalRun(pipeline)
    with _component_lines(progress), lost_workers_raised():
        run.start()
    return run.id


def remove_float_files(pipeline_root: str) -> None:
    """Removes the float `.tflite` files that the steps of a run shared, after the run succeeded.

    Args:
      pipeline_root: folder of the pipeline's artifacts.

    Example:
      >>> remove_float_files('demo-output/pipeline')
    """
    import tensorflow as tf

    from tfx_edge.components.tfx_interface.artifacts import float_files_folder

    folder = float_files_folder(pipeline_root)
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)


@contextlib.contextmanager
def _component_lines(progress: Progress) -> Iterator[None]:
    handler = _ComponentLines(progress)
    absl = logging.getLogger('absl')
    absl.addHandler(handler)
    try:
        yield
    finally:
        absl.removeHandler(handler)


class _ComponentLines(logging.Handler):
    """Reads LocalDagRunner's log: it has no other way to report where it is. LocalRun adds what fails or is skipped."""

    _EVENT = re.compile(
        r'Component (\S+) (?:is (running|finished)\.|is (skipped, since \S+ (?:failed|was left out))\.|(failed): (.*))'
        r'|A (cached) execution \d+ is used\.'
    )

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress
        self._start = time.monotonic()
        self._cached = False

    def emit(self, record: logging.LogRecord) -> None:
        event = self._EVENT.fullmatch(record.getMessage())
        if event is None:
            return
        component, state, skipped, failed, line, cached = event.groups()
        if cached:
            self._cached = True
        elif state == 'running':
            self._start, self._cached = time.monotonic(), False
            self._progress.line(f'{component}: started')
        elif skipped:
            self._progress.line(f'{component}: {skipped}')
        elif failed:
            self._progress.line(f'{component}: failed after {self._seconds()} s: {line}')
        elif self._cached:
            self._progress.line(f'{component}: cached')
        else:
            self._progress.line(f'{component}: finished in {self._seconds()} s')

    def _seconds(self) -> int:
        return round(time.monotonic() - self._start)
