"""A folder of a pod whose content is kept at an object store, as it was when it was last whole."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import time
import uuid
from collections.abc import Iterator

from tfx.dsl.io import fileio, filesystem

from tfx_edge.pipelines.kubeflow import object_store_files
from tfx_edge.pipelines.kubeflow.cluster_fault import ClusterFault
from tfx_edge.pipelines.kubeflow.log_line import log

# Names the copy that is whole. It is written last, so that an interrupted copy is never read.
_CURRENT = 'current'
# Of its own for each process: an earlier pod that still runs must not write into the copy of this one.
_COPY = re.compile(r'copy-(\d+)-[0-9a-f]{32}')


class MirroredFolder:
    """Copies a folder to a store and back.

    Args:
      folder: here; empty.
      uri: there; nothing else lies below it.

    Example:
      ```
      mirror = MirroredFolder('/tmp/state', 's3://bucket/state/run-1')
      mirror.fetch()
      mirror.keep()
      ```
    """

    def __init__(self, folder: str, uri: str) -> None:
        object_store_files.register()
        self._folder = folder
        self._uri = uri
        self._copy = ''

    def fetch(self) -> None:
        """Copies to the folder what was kept; nothing, if nothing was, or if it is not whole.

        Raises:
          EdgeError: the store does not answer.
        """
        with _faults_of_store(self._uri):
            current = posixpath.join(self._uri, _CURRENT)
            if not fileio.exists(current):
                return
            with fileio.open(current, 'r') as file:
                name = file.read().strip()
            copy = posixpath.join(self._uri, name)
            if not _COPY.fullmatch(name) or not fileio.isdir(copy):
                log(f'tfx-edge: {current} names no state; the training begins anew')
                return
            self._copy = name
            try:
                _copy_tree(copy, self._folder)
            except _gone():  # another pod of this step keeps a newer one, or has ended
                log(f'tfx-edge: {copy} was removed while it was fetched; the training begins anew')
                shutil.rmtree(self._folder)
                os.makedirs(self._folder)

    def keep(self) -> None:
        """Copies the folder to the store; what is there stays until the new copy is whole.

        A store that does not answer is no fault of the work whose folder this is: it is logged, and tried again at the
        next call.
        """
        try:
            self._keep()
        except Exception as error:  # noqa: BLE001 - whatever a client of a store raises
            log(f'tfx-edge: the state is not kept at {self._uri} this time ({type(error).__name__}: {error})')

    def remove(self) -> None:
        """Removes what was kept; what cannot be removed is logged, and left for `remove_silent`."""
        try:
            if fileio.exists(self._uri):
                fileio.rmtree(self._uri)
        except Exception as error:  # noqa: BLE001 - whatever a client of a store raises
            log(f'tfx-edge: {self._uri} is left ({type(error).__name__}: {error})')

    def _keep(self) -> None:
        match = _COPY.fullmatch(self._copy)
        before, name = self._copy, f'copy-{int(match[1]) + 1 if match else 1}-{uuid.uuid4().hex}'
        for top, _, names in os.walk(self._folder):
            for file in names:
                place = os.path.relpath(os.path.join(top, file), self._folder)
                target = posixpath.join(self._uri, name, *place.split(os.sep))
                _copy_file(os.path.join(top, file), target)
        with fileio.open(posixpath.join(self._uri, _CURRENT), 'w') as writer:
            writer.write(name)
        self._copy = name
        if before and fileio.exists(posixpath.join(self._uri, before)):
            fileio.rmtree(posixpath.join(self._uri, before))


def remove_silent(parent: str, names: re.Pattern[str], seconds: float) -> None:
    """Removes copies below a URI that nobody has kept for so long; what cannot be removed is logged, and left.

    Args:
      parent: of the copies' URIs.
      names: of the copies; whatever else lies there is somebody's.
      seconds: since the last `keep`.
    """
    object_store_files.register()
    try:
        found = [name.rstrip('/') for name in (fileio.listdir(parent) if fileio.isdir(parent) else [])]
    except Exception as error:  # noqa: BLE001 - whatever a client of a store raises
        log(f'tfx-edge: {parent} is not looked through ({type(error).__name__}: {error})')
        return
    for name in filter(names.fullmatch, found):
        uri = posixpath.join(parent, name)
        try:
            if time.time() - _last_written(uri) > seconds:
                log(f'tfx-edge: removing {uri}, the training state of a run that did not come back')
                fileio.rmtree(uri)
        except Exception as error:  # noqa: BLE001 - another step may remove it at the same time
            log(f'tfx-edge: {uri} is left ({type(error).__name__}: {error})')


def _last_written(uri: str) -> float:
    times = [
        fileio.stat(posixpath.join(top, name)).mtime_nsec / 1e9
        for top, _, names in fileio.walk(uri)
        for name in names
    ]
    return max(times, default=time.time())


def _copy_tree(source: str, folder: str) -> None:
    for top, _, names in fileio.walk(source):
        for name in names:
            inside = posixpath.relpath(top, source)
            _copy_file(posixpath.join(top, name), object_store_files.place_inside(folder, inside, name))


def _copy_file(source: str, target: str) -> None:
    fileio.makedirs(os.path.dirname(target))
    with fileio.open(source, 'rb') as reader, fileio.open(target, 'wb') as writer:
        while block := reader.read(1 << 20):
            writer.write(block)


@contextlib.contextmanager
def _faults_of_store(uri: str) -> Iterator[None]:
    """Turns what TensorFlow, which reads gs://, raises into the error of other stores."""
    from tensorflow import errors

    try:
        yield
    except errors.OpError as error:
        raise ClusterFault(
            f'{uri} cannot be reached ({type(error).__name__}); check the credentials of the step, and run it again.'
        ) from error


def _gone() -> tuple[type[Exception], ...]:
    """What stores raise for an object that is not there any more."""
    from tensorflow import errors

    return filesystem.NotFoundError, FileNotFoundError, errors.NotFoundError
