"""Keeps a step's artifacts on a volume that Beam's workers in other pods have mounted too."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tfx_edge.pipelines.kubeflow import folder_owner, volume_access
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.engine_jobs import EngineJobs, cancel_jobs
from tfx_edge.pipelines.kubeflow.log_line import log
from tfx_edge.pipelines.kubeflow.mounts import Mounts

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2

# Types of artifacts that are never empty.
_HOLD_FILES = {'tfx.Examples', 'tfx.Model', 'tfx.ModelEvaluation'}
# Names of the steps' folders: each is the text of a `uuid.UUID`.
_OWN_NAME = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
# Within this time a worker whose job was cancelled may still write.
_QUIET_SECONDS = 1.0
_CHECK_SECONDS = 0.1


@contextlib.contextmanager
def own_folder(shared: str, execution: str, jobs: EngineJobs) -> Iterator[str]:
    """A folder for one execution of a step, removed when the step ends.

    Kubeflow's launcher could put the artifacts on the volume by itself. But it overwrites a file for every step that
    reads it, even while workers of another step read it too, and never removes one.

    A step that ends early has its Beam jobs cancelled before the folder is removed: their workers would write it again.
    If a step has no time for this, the next step on the volume removes its folder.

    Args:
      shared: folder of the volume.
      execution: name of the step's execution, the same when Kubernetes starts its pod anew.
      jobs: of the step.

    Yields:
      The folder.

    Raises:
      EdgeError: the volume is not there, or cannot be written.
    """
    folder = pathlib.Path(shared, str(uuid.uuid4()))
    owner_file = folder.with_name(folder.name + folder_owner.SUFFIX)
    with volume_access.group_may_write():
        _make(folder, owner_file, folder_owner.Owner.of_this_process(execution, jobs.name))
        beats = folder_owner.Beats(owner_file)
        ended = False
        try:
            remove_abandoned(shared, execution, owner_file, jobs)
            yield str(folder)
            ended = True
        finally:
            quiet_seconds = 0.0 if ended else _QUIET_SECONDS
            ended = ended or jobs.cancel()
            beats.stop()
            if _remove(folder, quiet_seconds) and ended:
                owner_file.unlink(missing_ok=True)
            else:
                log(f'tfx-edge: the next step on the volume looks for {folder} again')


def _make(folder: pathlib.Path, owner_file: pathlib.Path, owner: folder_owner.Owner) -> None:
    """Makes a step's folder, and the file beside it that says whose it is."""
    try:
        # Written first: a folder without an owner's file would never be removed.
        folder_owner.write(owner_file, owner)
        folder.mkdir()
    except OSError as error:
        with contextlib.suppress(OSError):
            owner_file.unlink()
        remedy = (
            volume_access.REMEDY
            if isinstance(error, PermissionError)
            else 'mount a ReadWriteMany volume there that this user may write: tfx-edge compile --shared-volume CLAIM'
        )
        shared = folder.parent
        raise ClusterFault(
            f'the shared folder {shared} cannot be written ({volume_access.reason(error, shared)}); {remedy}.'
        ) from error


def remove_abandoned(shared: str, execution: str, own_file: pathlib.Path, jobs: EngineJobs) -> None:
    """Removes the folders of steps whose processes are gone, and cancels what they left running.

    Args:
      shared: folder of the volume.
      execution: of the step that calls.
      own_file: the owner's file of that step; its time is "now" by the volume's clock.
      jobs: of the step that calls; jobs of other steps are cancelled on the same servers.
    """
    now = own_file.stat().st_mtime
    for file in sorted(pathlib.Path(shared).glob(f'*{folder_owner.SUFFIX}')):
        if file == own_file or not _OWN_NAME.fullmatch(file.stem):
            continue
        owner = folder_owner.read(file)
        try:
            silent = now - file.stat().st_mtime
        except FileNotFoundError:
            # Its step has ended meanwhile.
            continue
        if owner is None or not owner.is_gone(execution, silent):
            continue
        folder = file.with_name(file.stem)
        log(f'tfx-edge: removing {folder}, which an earlier step left ({owner.job or "no Beam job"})')
        if owner.job and not cancel_jobs(owner.job, jobs.endpoint, jobs.flink):
            continue
        try:
            if _remove(folder, _QUIET_SECONDS):
                file.unlink(missing_ok=True)
        except OSError as error:
            log(f'tfx-edge: {file} is left ({volume_access.reason(error, file)})')


def _remove(folder: pathlib.Path, quiet_seconds: float) -> bool:
    """Removes a folder, repeatedly while a worker that is about to end still writes there.

    Args:
      folder: may be gone already.
      quiet_seconds: how long the folder must stay removed.

    Returns:
      Whether it is gone; where another user's files keep it there, that is logged: it is no fault of this step.
    """
    gone_since = time.monotonic()
    give_up = gone_since + 30 * quiet_seconds
    while True:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists() and (closed := volume_access.closed_folder(folder)):
                log(
                    f'tfx-edge: {folder} cannot be removed: {volume_access.whose(closed)}; {volume_access.REMEDY}'
                )
                return False
            if folder.exists() and time.monotonic() >= give_up:
                log(f'tfx-edge: {folder} cannot be removed: something is written there all the time')
                return False
            gone_since = time.monotonic()
        if not folder.exists() and time.monotonic() - gone_since >= quiet_seconds:
            return True
        time.sleep(_CHECK_SECONDS)


def require_files(outputs: Mapping[str, pipeline_spec_pb2.ArtifactList], folder: str) -> None:
    """Refuses examples, models and evaluations without a file: workers that do not see the folder wrote elsewhere.

    Args:
      outputs: of a step that has run, with paths in place of URIs.
      folder: the step's.

    Raises:
      EdgeError: such an output is empty.
    """
    from tfx_edge.pipelines.kubeflow import launcher_messages  # takes seconds

    for key in sorted(outputs):
        for artifact in outputs[key].artifacts:
            if launcher_messages.title(artifact.type) not in _HOLD_FILES:
                continue
            if not any(path.is_file() for path in pathlib.Path(artifact.uri).rglob('*')):
                raise ClusterFault(
                    f"the step wrote no file for {key!r}: Beam's workers do not see {os.path.dirname(folder)}; mount "
                    'the volume of --shared-volume there for them too.'
                )


def copy(uris: Iterable[str], source: Mounts, target: Mounts) -> None:
    """Copies artifacts from one place to another: a folder, a file, or nothing where a step wrote nothing.

    Raises:
      EdgeError: a worker of another user made a file that this step may not read.
    """
    for uri in uris:
        path, to = pathlib.Path(source.path(uri)), pathlib.Path(target.path(uri))
        if path == pathlib.Path(uri):
            continue
        try:
            _copy(path, to)
        except PermissionError as error:
            place = error.filename or path
            raise ClusterFault(
                f'{place} cannot be copied ({volume_access.reason(error, place)}); {volume_access.REMEDY}.'
            ) from error


def _copy(path: pathlib.Path, to: pathlib.Path) -> None:
    """Copies contents alone: who may do what with the copy is for the place where it lies to say."""
    if path.is_dir():
        to.mkdir(parents=True, exist_ok=True)
        for part in path.iterdir():
            _copy(part, to / part.name)
    elif path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
