"""What artifacts hold: its paths, read and written."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.float_files import FloatFiles
from tfx_edge.components.tfx_interface.keys import CALIBRATION as CALIBRATION
from tfx_edge.components.tfx_interface.keys import EXAMPLES as EXAMPLES
from tfx_edge.components.tfx_interface.keys import INPUT_CALIBRATION as INPUT_CALIBRATION
from tfx_edge.components.tfx_interface.keys import INPUT_MODEL as INPUT_MODEL
from tfx_edge.components.tfx_interface.keys import MODEL as MODEL
from tfx_edge.components.tfx_interface.keys import SCHEMA as SCHEMA
from tfx_edge.components.tfx_interface.keys import TRANSFORM_GRAPH as TRANSFORM_GRAPH

_LOG = logging.getLogger(__name__)

ArtifactDict = Mapping[str, Sequence[types.Artifact]]

# Custom property of the models that tfx-edge writes: which function of the SavedModel was taken, in a sentence.
DENSE_FUNCTION = 'tfx_edge_dense_function'

# Either shows that a folder is a model.
_MODEL_FILES = ('saved_model.pb', 'tflite')


def serving_model_path(model: types.Artifact) -> str:
    """The folder of the SavedModel (or the `.tflite` file's folder) that a Model artifact holds.

    TFX's steps write it to `Format-Serving`. A model that was imported may also be the artifact's own folder, or lie in
    `serving_model_dir` or in a folder with a number, of which TensorFlow Serving takes the largest.

    Raises:
      EdgeError: the artifact holds none.
    """
    path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    if fileio.exists(path):
        return path
    for folder in _imported_folders(model.uri):
        if any(fileio.exists(os.path.join(folder, name)) for name in _MODEL_FILES):
            _LOG.info('%s holds no Format-Serving; the model in %s is taken', model.uri, folder)
            return folder
    raise EdgeError(
        f'the model artifact {model.uri} holds no serving model (looked for {path}); where a step makes it, that step '
        f'has not finished: run it again. Where it is imported, the SavedModel has to lie in {path} or in {model.uri} '
        'itself.'
    )


def _imported_folders(uri: str) -> list[str]:
    """Where else a model may lie, the likeliest first."""
    below = [name.rstrip('/') for name in fileio.listdir(uri)] if fileio.isdir(uri) else []
    versions = sorted((name for name in below if name.isdigit()), key=int, reverse=True)
    return [uri, *(os.path.join(uri, name) for name in ('serving_model_dir', *versions))]


@contextlib.contextmanager
def written_whole(folder: str) -> Iterator[str]:
    """Yields a draft folder beside `folder`, and renames it to `folder` if the block raises no error.

    So a failed step leaves nothing that a later step could mistake for its result.

    Example:
      >>> with written_whole('/model/3/Format-Serving') as draft:
      ...   tf.saved_model.save(module, draft)
    """
    draft = f'{folder.rstrip("/")}.unfinished'
    if fileio.exists(draft):
        fileio.rmtree(draft)
    fileio.makedirs(draft)
    try:
        yield draft
    except BaseException:
        fileio.rmtree(draft)
        raise
    if fileio.exists(folder):
        fileio.rmtree(folder)
    fileio.rename(draft, folder)


@contextlib.contextmanager
def removed_on_error(folder: str) -> Iterator[None]:
    """Removes a finished folder if the block raises an error, so that a failed step leaves no output.

    Example:
      >>> with removed_on_error('/model/3/Format-Serving'):
      ...   write_calibration()
    """
    try:
        yield
    except BaseException:
        if fileio.exists(folder):
            fileio.rmtree(folder)
        raise


def float_files(output: types.Artifact, handed: Sequence[types.Artifact] = ()) -> FloatFiles:
    """Where the float `.tflite` files of a pipeline's models are kept: in one folder beside the outputs of its steps.

    Args:
      output: an output artifact of the step that calls.
      handed: input artifacts whose folders may hold a file (`pass_on`).

    Returns:
      The files. If `output` is not in TFX's layout (`ROOT/STEP/OUTPUT/NUMBER`), no file is kept, since no other
      step would find it.
    """
    root, number = output.uri.rstrip('/'), os.path.basename(output.uri.rstrip('/'))
    for _ in range(3):
        root = os.path.dirname(root)
    folder = float_files_folder(root) if root and number.isdigit() else ''
    return FloatFiles(folder, [artifact.uri for artifact in handed])


def float_files_folder(pipeline_root: str) -> str:
    """The folder of `float_files` in a pipeline's root."""
    return os.path.join(pipeline_root, '.tfx_edge', 'float_files')


def read_schema(input_dict: ArtifactDict) -> schema_pb2.Schema | None:
    """The schema given to a component, or None.

    Raises:
      EdgeError: its artifact holds none.
    """
    uri = _optional_uri(input_dict, SCHEMA)
    if uri is None:
        return None
    path = os.path.join(uri, 'schema.pbtxt')
    try:
        with fileio.open(path) as file:
            text: Any = file.read()
        return text_format.Parse(text, schema_pb2.Schema())
    except (fileio.NotFoundError, FileNotFoundError, text_format.ParseError) as error:
        cause = ' '.join(str(error).split()) or 'there is no such file'
        raise EdgeError(
            f'{path} cannot be read as a schema ({cause}); run the step that writes the schema again.'
        ) from error


def transform_graph_folder(input_dict: ArtifactDict) -> str | None:
    """The folder of the transform graph given to a component, or None."""
    return _optional_uri(input_dict, TRANSFORM_GRAPH)


def _optional_uri(input_dict: ArtifactDict, key: str) -> str | None:
    artifacts = list(input_dict.get(key) or ())
    if len(artifacts) > 1:
        raise EdgeError(
            f'{key} has {len(artifacts)} artifacts ({", ".join(a.uri for a in artifacts)}); expected one.'
        )
    return artifacts[0].uri if artifacts else None
