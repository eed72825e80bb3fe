"""Runs of pipelines on this machine: which one is going on, and what one that died left behind.

A run has the lock on a file in the folder of its pipeline's artifacts, and so has no other than a living process. TFX
closes an execution that ends or raises an error; one whose process is killed or interrupted would stay RUNNING in ML
Metadata, with outputs that are half there.

`step_runner` says what runs, and in which order.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import ml_metadata
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tfx_edge.components.core.file_lock import locked
from tfx_edge.components.tfx_interface.missing_steps import remove_missing_steps
from tfx_edge.pipelines.run_records import node_of
from tfx_edge.pipelines.step_runner import StepRunner

_LOG = logging.getLogger(__name__)
_FOLDER = '.runs'


class LocalRun:
    """One run of a pipeline by TFX's LocalDagRunner.

    Args:
      pipeline: a `tfx.v1.dsl.Pipeline`.

    Example:
      ```
      run = LocalRun(pipeline)
      run.start()
      steps = steps_of_run(pipeline.metadata_connection_config, run.id)
      ```
    """

    def __init__(self, pipeline: Any) -> None:
        self.id = datetime.datetime.now().isoformat()
        self._pipeline = pipeline

    def start(self) -> None:
        """Runs the components one after another.

        First, executions that were left open by runs that died are closed as failed, and their unfinished outputs
        removed. Temporary files that this process makes meanwhile are removed at the end: TFX leaves 44 MB of them in
        each step with Apache Beam.

        Where an EdgeSelector can do without what a failed component would have made, the run goes on, and the absl log
        gets the lines 'Component ID failed: LINE', with the traceback, and 'Component ID is skipped, since ID failed.'

        Raises:
          Exception: whatever a component raised; the first error, if no EdgeSelector can run any more.
        """
        connection = self._pipeline.metadata_connection_config
        root = self._pipeline.pipeline_info.pipeline_root
        with open_run(root, self.id, connection), _temporary_folder():
            StepRunner(self.id, root, connection).run(self._pipeline)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """Has this process's temporary files made in a folder that is removed at the end."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix='tfx-edge-run-', ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def open_run(root: str, run: str, connection: mlmd.ConnectionConfig) -> Iterator[None]:
    """Closes runs that died, and this one at the end, however it ends."""
    if '://' in root:  # where no lock can be had
        yield
        return
    folder = os.path.join(root, _FOLDER)
    os.makedirs(folder, exist_ok=True)
    for name in sorted(os.listdir(folder)):
        with contextlib.suppress(OSError), locked(os.path.join(folder, name)):
            _close(root, name, connection)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(os.path.join(folder, run)))
        except OSError as error:
            _LOG.info('%s has no locks (%s): a run that is killed stays open', folder, error.strerror)
        try:
            yield
        finally:
            _close(root, run, connection)


def _close(root: str, run: str, connection: mlmd.ConnectionConfig) -> None:
    """Marks what a run has open as failed, and removes its unfinished outputs; a fault of this is only logged."""
    try:
        remove_missing_steps(root, run)
        store = metadata_store.MetadataStore(connection)
        context = store.get_context_by_type_and_name('pipeline_run', run)
        executions = store.get_executions_by_context(context.id) if context is not None else []
        open_ones = [
            e for e in executions if e.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
        ]
        for execution in open_ones:
            node = node_of(store, execution)
            _LOG.info('%s did not end in the run of %s: it is marked as failed', node, run)
            _remove_unfinished(root, node, execution.id)
            execution.last_known_state = mlmd.Execution.FAILED
        store.put_executions(open_ones)
    except (ml_metadata.errors.StatusError, OSError) as error:
        _LOG.warning('the run of %s stays open in ML Metadata: %s', run, error)


def _remove_unfinished(root: str, node: str, execution: int) -> None:
    output = os.path.join(glob.escape(root), glob.escape(node), '*', str(execution))
    drafts = [
        draft
        for pattern in (f'{output}.unfinished', f'{output}/**/*.unfinished')
        for draft in glob.glob(pattern, recursive=True)
    ]
    within = os.path.join(os.path.realpath(root), '')
    for draft in drafts:
        # A link in an output may lead to where nothing is ours.
        if not os.path.realpath(os.path.dirname(draft)).startswith(within):
            continue
        if os.path.isdir(draft) and not os.path.islink(draft):
            shutil.rmtree(draft)
        elif os.path.lexists(draft):
            os.unlink(draft)
