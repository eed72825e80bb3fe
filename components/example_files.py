"""The TFRecord files of Examples artifacts; every other form is refused by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from tfx_edge.components.core.errors import EdgeError

_READ = example_gen_pb2.PayloadFormat.Name(example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
_REMEDIES = {
    'FORMAT_TF_SEQUENCE_EXAMPLE': 'Write tf.Examples, each sequence as one feature that is padded to a fixed length.',
    'FORMAT_PROTO': 'Write tf.Examples, one feature for each field that the model takes.',
    'FORMAT_PARQUET': 'Leave the payload format of the ExampleGen at FORMAT_TF_EXAMPLE.',
}


def split_files(examples: Sequence[types.Artifact], splits: Sequence[str]) -> list[str]:
    """The TFRecord files of some splits, sorted by name.

    Raises:
      EdgeError: the examples are not tf.Examples in TFRecords, or a split is not there or has no file.
    """
    files = []
    for artifact in examples:
        _require_readable(artifact)
        found = artifact_utils.decode_split_names(artifact.split_names) if artifact.split_names else []
        for split in splits:
            if split not in found:
                raise EdgeError(
                    f'split {split!r} is not in the examples {artifact.uri} '
                    f'(found: {", ".join(found) or "none"}); name one of these.'
                )
            files += _files(artifact, split)
    return sorted(files)


def _files(artifact: types.Artifact, split: str) -> list[str]:
    folder = artifact_utils.get_split_uri([artifact], split)
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


def _require_readable(artifact: types.Artifact) -> None:
    payload = example_gen_pb2.PayloadFormat.Name(examples_utils.get_payload_format(artifact))
    if payload != _READ:
        raise EdgeError(
            f'the examples {artifact.uri} are {payload}; tfx-edge reads {_READ}. {_REMEDIES.get(payload, "")}'.strip()
        )
    files = examples_utils.get_file_format(artifact)
    if 'tfrecord' not in files.lower():
        raise EdgeError(
            f'the examples {artifact.uri} lie in files of the format {files!r}; tfx-edge reads TFRecord files. '
            'Leave the file format of the ExampleGen unset.'
        )
