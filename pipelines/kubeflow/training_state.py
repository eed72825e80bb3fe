"""The state of a step that trains, where it outlives the step's pod: on the shared volume, or at an object store.

It belongs to one execution, which a new pod of the same step continues. What an execution refused is written there too:
a cluster that starts a failed step again, as older ones do, gets the same line at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator

from tfx_edge.components.core.compression.training.state_place import StatePlace, state_kept_in
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.file_lock import locked
from tfx_edge.pipelines.failure import causes, one_line
from tfx_edge.pipelines.kubeflow import volume_access
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.log_line import log

STATE_FLAG = '--training_state'
# Below a shared volume, where the folders of steps that run Beam lie too.
FOLDER = 'training-state'
# State that nobody wrote for so long belongs to a run that was terminated: no pod comes for it any more.
ABANDONED_SECONDS = 7 * 86400.0
# A file server frees the locks of a machine that it lost after this time at most (a lease of NFS 4 is 90 seconds).
_PATIENCE_SECONDS = 120.0
_REFUSAL = 'refused.txt'
# Names of the folders of executions; whatever else lies beside them is somebody's.
_OWN_NAME = re.compile(r'[0-9a-f]{32}')


@contextlib.contextmanager
def kept_state(place: str, execution: str, *, remembers_refusal: bool = True) -> Iterator[None]:
    """Lets trainings keep their state where a new pod of the same execution finds it.

    Args:
      place: a folder of a volume, or a URI at an object store; '' for no place: a new pod begins anew.
      execution: name of the step's execution, the same when Kubernetes starts its pod anew.
      remembers_refusal: False for a step that ends well all the same, since another goes on without it.

    Raises:
      EdgeError: the execution was refused before, by an earlier pod; or the place cannot be written.

    Example:
      ```
      with kept_state('/tfx-edge-shared/training-state', execution):
          run_executor()
      ```
    """
    if not place:
        yield
        return
    key = hashlib.sha256(execution.encode()).hexdigest()[:32]
    if '://' in place:
        with _at_store(place.rstrip('/'), key, remembers_refusal):
            yield
    else:
        with volume_access.group_may_write(), _on_volume(pathlib.Path(place), key, remembers_refusal):
            yield


@contextlib.contextmanager
def _on_volume(volume: pathlib.Path, key: str, remembers_refusal: bool) -> Iterator[None]:
    folder = volume / key
    try:
        _make_open(volume)
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        now = folder.stat().st_mtime
    except OSError as error:
        remedy = (
            f'{volume_access.REMEDY}; or keep the state at an object store: tfx-edge compile --state URI'
            if isinstance(error, PermissionError)
            else 'mount a volume there that this user may write: tfx-edge compile --shared-volume CLAIM, or --state URI'
        )
        why = volume_access.reason(error, folder)
        raise ClusterFault(
            f'the folder of training states {volume} cannot be written ({why}); {remedy}.'
        ) from error
    _remove_abandoned(volume, now)
    try:
        with _refused_once(folder, StatePlace(str(folder), lambda: _touch(folder), _PATIENCE_SECONDS)):
            yield
    except Exception as error:
        if _is_refusal(error) and not remembers_refusal:
            _remove(folder)
        raise
    _remove(folder)


def _make_open(volume: pathlib.Path) -> None:
    """Makes the folder of all states, if it is not there, for everybody who may write where it lies."""
    try:
        volume.mkdir(parents=True)
    except FileExistsError:
        if volume.is_dir():
            return
        raise
    volume.chmod(stat.S_IMODE(volume.parent.stat().st_mode))


@contextlib.contextmanager
def _at_store(store: str, key: str, remembers_refusal: bool) -> Iterator[None]:
    from tfx_edge.pipelines.kubeflow import mirrored_folder  # takes seconds

    mirrored_folder.remove_silent(store, _OWN_NAME, ABANDONED_SECONDS)
    with tempfile.TemporaryDirectory(prefix='tfx_edge_state_') as folder:
        mirror = mirrored_folder.MirroredFolder(folder, f'{store}/{key}')
        mirror.fetch()
        try:
            with _refused_once(pathlib.Path(folder), StatePlace(folder, mirror.keep)):
                yield
        except Exception as error:
            if _is_refusal(error):
                (mirror.keep if remembers_refusal else mirror.remove)()
            raise
        mirror.remove()


@contextlib.contextmanager
def _refused_once(folder: pathlib.Path, place: StatePlace) -> Iterator[None]:
    """Remembers that the step refused what it was given, and then refuses at once what is given again."""
    refusal = folder / _REFUSAL
    if refusal.exists():
        log(
            f'tfx-edge: an earlier pod of this step refused it; without the file {_REFUSAL} it would be tried again'
        )
        raise EdgeError(refusal.read_text(encoding='utf-8'))
    if any(folder.iterdir()):
        log(f'tfx-edge: an earlier pod of this step left the state of its training; it is in {folder}')
    try:
        with state_kept_in(place):
            yield
    except Exception as error:
        if _is_refusal(error):
            draft = refusal.with_suffix('.unfinished')
            draft.write_text(one_line(error), encoding='utf-8')
            os.replace(draft, refusal)
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
        raise


def _is_refusal(error: BaseException) -> bool:
    """Whether the step would end the same way if it were started again."""
    for cause in causes(error):
        if isinstance(cause, EdgeError | EnvironmentFailure):
            return not isinstance(cause, ClusterFault | EnvironmentFailure)
    return False


def _touch(folder: pathlib.Path) -> None:
    """Sets the folder's time. A volume that does not answer meanwhile is no fault of the training."""
    try:
        os.utime(folder)
    except OSError as error:
        log(f'tfx-edge: {folder} cannot be written ({volume_access.reason(error, folder)})')


def _remove(folder: pathlib.Path) -> None:
    """Removes the state of a step that has ended; what cannot be removed is logged, and left for later steps.

    An earlier pod of the step may still run, on a machine that Kubernetes lost: what it has stays.
    """
    for lock in folder.glob('*.lock'):
        try:
            with locked(str(lock)):
                pass
        except BlockingIOError:
            log(f'tfx-edge: another pod of this step works in {folder}; its state is left')
            return
        except OSError:
            continue  # a file system without locks
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log(f'tfx-edge: {folder} cannot be removed, and is left')


def _remove_abandoned(volume: pathlib.Path, now: float) -> None:
    """Removes states of other executions that nobody has written for long.

    Args:
      volume: folder of all states, and of whatever else a user has there.
      now: by the volume's clock.
    """
    for folder in sorted(path for path in volume.iterdir() if _OWN_NAME.fullmatch(path.name)):
        try:
            if now - folder.stat().st_mtime > ABANDONED_SECONDS:
                log(f'tfx-edge: removing {folder}, the training state of a run that did not come back')
                shutil.rmtree(folder)
        except OSError as error:  # its own step has ended meanwhile, or it belongs to another user
            log(f'tfx-edge: {folder} is left ({volume_access.reason(error, folder)})')
