"""The TFRecord files of Examples artifacts; other formats are refused by an error that names them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from tfx import types
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface import tfx_names

_LOG = logging.getLogger(__name__)

_SPLIT = 'Split-'
_READ = example_gen_pb2.PayloadFormat.Name(example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
_REMEDIES = {
    'FORMAT_TF_SEQUENCE_EXAMPLE': 'Write tf.Examples, each sequence as one feature that is padded to a fixed length.',
    'FORMAT_PROTO': 'Write tf.Examples, one feature for each field that the model takes.',
    'FORMAT_PARQUET': "Leave the payload format of the ExampleGen at FORMAT_TF_EXAMPLE; FileBasedExampleGen with TFX's "
    'parquet_executor makes tf.Examples of Parquet files.',
}


def split_files(examples: Sequence[types.Artifact], splits: Sequence[str]) -> list[str]:
    """The TFRecord files of some splits, sorted by name.

    An artifact that was imported may not list its splits; then its folders show them.

    Raises:
      EdgeError: the examples are not tf.Examples in TFRecords, or a split is not there or has no file.
    """
    files = []
    for artifact in examples:
        _require_readable(artifact)
        found = _splits_of(artifact)
        for split in splits:
            if split not in found:
                raise EdgeError(
                    f'split {split!r} is not in the examples {artifact.uri} '
                    f'(found: {", ".join(found) or "none"}); {_remedy(found)}'
                )
            files += _files(artifact, split)
    return sorted(files)


def _splits_of(artifact: types.Artifact) -> list[str]:
    if artifact.split_names:
        return list(artifact_utils.decode_split_names(artifact.split_names))
    below = fileio.listdir(artifact.uri) if fileio.isdir(artifact.uri) else []
    found = sorted(name.rstrip('/').removeprefix(_SPLIT) for name in below if name.startswith(_SPLIT))
    if found:
        _LOG.info('the examples %s list no splits; those of its folders are taken: %s', artifact.uri, found)
    return found


def _remedy(found: Sequence[str]) -> str:
    if found:
        return 'name one of these.'
    return (
        f'the artifact lists no splits, nor has it folders {_SPLIT}NAME. Where it is imported, give the Importer '
        'properties={\'split_names\': \'["train", "eval"]\'}, and lay the files in Split-train and Split-eval.'
    )


def _files(artifact: types.Artifact, split: str) -> list[str]:
    if artifact.has_custom_property(tfx_names.CUSTOM_SPLIT_PATTERN_PROPERTY_NAME):
        return _files_by_pattern(artifact, split)
    folder = _folder(artifact, split)
    try:
        names = [name for name in fileio.listdir(folder) if not fileio.isdir(os.path.join(folder, name))]
    except (fileio.NotFoundError, FileNotFoundError):
        raise EdgeError(
            f'split {split!r} is listed in the examples {artifact.uri}, but there is no folder {folder}; '
            'run the step that writes the examples again, or name another split.'
        ) from None
    if not names:
        raise EdgeError(
            f'split {split!r} of the examples {artifact.uri} is empty; expected TFRecord files in {folder}. '
            'Run the step that writes the examples again, or name another split.'
        )
    return [os.path.join(folder, name) for name in names]


def _folder(artifact: types.Artifact, split: str) -> str:
    folder = os.path.join(artifact.uri, _SPLIT + split)
    if not artifact.split_names:
        return folder
    # TFX reads an artifact without a version, such as an imported one, as one of its oldest, whose folders have no
    # prefix `Split-`.
    by_version = artifact_utils.get_split_uri([artifact], split)
    return folder if fileio.isdir(folder) and not fileio.isdir(by_version) else by_version


def _files_by_pattern(artifact: types.Artifact, split: str) -> list[str]:
    from tfx.components.util import examples_utils  # takes seconds

    try:
        (pattern,) = examples_utils.get_split_file_patterns([artifact], split)
    except ValueError as error:
        raise EdgeError(
            f'the examples {artifact.uri} have patterns of files for their splits, but none for {split!r} ({error}); '
            'correct the custom property, or name another split.'
        ) from error
    files = [path for path in fileio.glob(pattern) if not fileio.isdir(path)]
    if not files:
        raise EdgeError(
            f'split {split!r} of the examples {artifact.uri} has no file {pattern}; correct the custom property '
            f'{tfx_names.CUSTOM_SPLIT_PATTERN_PROPERTY_NAME!r}, or name another split.'
        )
    return files


def _require_readable(artifact: types.Artifact) -> None:
    # As TFX reads them: examples that name no format are of before there were others.
    payload = artifact.get_string_custom_property(tfx_names.PAYLOAD_FORMAT_PROPERTY_NAME) or _READ
    if payload != _READ:
        raise EdgeError(
            f'the examples {artifact.uri} are {payload}; tfx-edge reads {_READ}. {_REMEDIES.get(payload, "")}'.strip()
        )
    files = artifact.get_string_custom_property(tfx_names.FILE_FORMAT_PROPERTY_NAME) or 'tfrecords_gzip'
    if 'tfrecord' not in files.lower():
        raise EdgeError(
            f'the examples {artifact.uri} lie in files of the format {files!r}; tfx-edge reads TFRecord files. '
            'Leave the file format of the ExampleGen unset.'
        )
