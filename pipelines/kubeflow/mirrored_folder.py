"""A folder of a pod whose content is kept at an object store, as it was when it was last whole."""

from __future__ import annotations

import os
import posixpath
import time

from tfx.dsl.io import fileio

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow import object_store_files
from tfx_edge.pipelines.kubeflow.log_line import log

# Names the copy that is whole. It is written last, so that an interrupted copy is never read.
_CURRENT = 'current'


class MirroredFolder:
    """Copies a folder to a store and back.

    Args:
      folder: here.
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
        self._number = 0

    def fetch(self) -> None:
        """Copies to the folder what was kept; nothing, if nothing was.

        Raises:
          EdgeError: the store does not answer.
        """
        current = posixpath.join(self._uri, _CURRENT)
        if not fileio.exists(current):
            return
        with fileio.open(current, 'r') as file:
            self._number = int(file.read())
        copy = self._copy(self._number)
        for top, _, names in fileio.walk(copy):
            for name in names:
                target = os.path.join(self._folder, posixpath.relpath(top, copy), name)
                _copy_file(posixpath.join(top, name), os.path.normpath(target))

    def keep(self) -> None:
        """Copies the folder to the store; what is there stays until the new copy is whole.

        A store that does not answer is no fault of the work whose folder this is: it is logged, and tried again at the
        next call.
        """
        try:
            self._keep()
        except (EdgeError, OSError) as error:
            log(f'tfx-edge: the state is not kept at {self._uri} this time: {error}')

    def remove(self) -> None:
        """Removes what was kept."""
        if fileio.exists(self._uri):
            fileio.rmtree(self._uri)

    def _keep(self) -> None:
        number = self._number + 1
        copy = self._copy(number)
        for top, _, names in os.walk(self._folder):
            for name in names:
                place = os.path.relpath(os.path.join(top, name), self._folder)
                _copy_file(os.path.join(top, name), posixpath.join(copy, *place.split(os.sep)))
        with fileio.open(posixpath.join(self._uri, _CURRENT), 'w') as file:
            file.write(str(number))
        before, self._number = self._number, number
        if fileio.exists(self._copy(before)):
            fileio.rmtree(self._copy(before))

    def _copy(self, number: int) -> str:
        return posixpath.join(self._uri, f'copy-{number}')


def remove_silent(parent: str, seconds: float) -> None:
    """Removes copies below a URI that nobody has kept for so long.

    Args:
      parent: of the copies' URIs.
      seconds: since the last `keep`.

    Raises:
      EdgeError: the store does not answer.
    """
    object_store_files.register()
    for name in fileio.listdir(parent) if fileio.isdir(parent) else []:
        current = posixpath.join(parent, name, _CURRENT)
        if not fileio.exists(current):
            continue  # its first copy is being written
        if time.time() - fileio.stat(current).mtime_nsec / 1e9 > seconds:
            log(f'tfx-edge: removing {posixpath.join(parent, name)}, which nobody has kept since')
            fileio.rmtree(posixpath.join(parent, name))


def _copy_file(source: str, target: str) -> None:
    fileio.makedirs(os.path.dirname(target))
    fileio.copy(source, target, overwrite=True)
