"""A step's artifacts where the workers of Beam in other pods see them too: on a volume that they share."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.kubeflow.mounts import Mounts

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2

# Types of artifacts that are never empty.
_HOLD_FILES = {'tfx.Examples', 'tfx.Model', 'tfx.ModelEvaluation'}


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


def require_files(outputs: Mapping[str, pipeline_spec_pb2.ArtifactList], folder: str) -> None:
    """Refuses examples, models and evaluations without a file: workers that do not see the folder wrote elsewhere.

    Args:
      outputs: of a step that has run, with paths in place of URIs.
      folder: the step's.

    Raises:
      EdgeError: such an output is empty.
    """
    from tfx_edge.pipelines.kubeflow import messages  # takes seconds

    for key in sorted(outputs):
        for artifact in outputs[key].artifacts:
            if messages.title(artifact.type) not in _HOLD_FILES:
                continue
            if not any(path.is_file() for path in pathlib.Path(artifact.uri).rglob('*')):
                raise EdgeError(
                    f"the step wrote no file for {key!r}: Beam's workers do not see {os.path.dirname(folder)}; mount "
                    'the volume of --shared-volume there for them too.'
                )


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
