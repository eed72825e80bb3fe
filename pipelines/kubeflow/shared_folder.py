"""A step's artifacts where the workers of Beam in other pods see them too: on a volume that they share."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Iterator

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.mounts import Mounts


@contextlib.contextmanager
def own_folder(shared: str) -> Iterator[str]:
    """A folder for one execution of a step, taken away when it ends.

    Kubeflow's launcher could put the artifacts on the volume by itself. But it writes a file anew for every step that
    reads it, under the eyes of the workers of another, and takes none away.

    Args:
      shared: folder of the volume.

    Yields:
      The folder.

    Raises:
      EdgeError: the volume is not there, or cannot be written.
    """
    folder = os.path.join(shared, str(uuid.uuid4()))
    try:
        os.mkdir(folder)
    except OSError as error:
        raise EdgeError(
            f'the shared folder {shared} cannot be written ({error.strerror}); mount a ReadWriteMany volume there that '
            'this user may write: tfx-edge compile --shared-volume CLAIM.'
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def copy(uris: Iterable[str], source: Mounts, target: Mounts) -> None:
    """Copies artifacts from one place to another: a folder, a file, or nothing where a step wrote nothing."""
    for uri in uris:
        path, to = pathlib.Path(source.path(uri)), pathlib.Path(target.path(uri))
        if path == pathlib.Path(uri):
            continue
        if path.is_dir():
            shutil.copytree(path, to, dirs_exist_ok=True)
        elif path.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
