"""A cache of the float `.tflite` files of SavedModels.

A file is kept under a key of all that decides it: the SavedModel's content, the signature, and the versions of
TensorFlow's converter and of tfx-edge. The entry holds its key and the digest of its bytes, so that one which is
stale, cut off or overwritten is never taken for the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import time
import uuid
from collections.abc import Sequence

import tensorflow as tf

from tfx_edge.components.core.content_digest import content_digest
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.conversion.saved_model_converter import name_of
from tfx_edge.components.core.signature import Signature

# The entry's name in a folder that holds one float file for later steps, such as a calibration.
PASSED_ON_FILE = 'float.entry'
_ENDING = '.entry'
_UNFINISHED = '.unfinished'
_MOST_ENTRIES = 32
_MOST_BYTES = 2**30
_SECONDS_TO_FINISH = 3600
_NANOSECONDS = 10**9

_LOG = logging.getLogger(__name__)


class FloatFiles:
    """Converts SavedModels, and keeps the files.

    Several processes may use one folder at the same time. It holds at most 32 files and 1 GiB; the oldest go first.

    Args:
      folder: where files are kept and looked for; '' to keep none. It is made when there is something to keep.
      handed: folders into which `pass_on` wrote a file; these are searched first.

    Example:
      >>> files = FloatFiles('/pipeline/.tfx_edge/float_files')
      >>> files.convert('/models/digits', 'serving_default') == files.convert('/models/digits', 'serving_default')
      True
    """

    def __init__(self, folder: str = '', handed: Sequence[str] = ()) -> None:
        self._folder = folder
        self._handed = tuple(handed)

    def convert(self, saved_model_dir: str, signature: Signature | str) -> bytes:
        """The float file of a signature; see `convert_saved_model`.

        Args:
          saved_model_dir: the folder of the SavedModel.
          signature: of `choose_signature`, or the name of one of its signatures.

        Returns:
          The file's bytes, the same whether it was made now or before.

        Raises:
          EdgeError: it cannot be converted.
        """
        if not self._folder and not self._handed:
            return convert_saved_model(saved_model_dir, signature)
        key = _key(saved_model_dir, signature)
        places = [os.path.join(folder, PASSED_ON_FILE) for folder in self._handed]
        if self._folder:
            places.append(os.path.join(self._folder, key + _ENDING))
        for place in places:
            model = _read(place, key)
            if model is not None:
                _LOG.info(
                    'taking the float .tflite file of signature %r that was made before', name_of(signature)
                )
                return model
        model = convert_saved_model(saved_model_dir, signature)
        if self._folder:
            _write(places[-1], key, model)
            _trim(self._folder)
        return model


def pass_on(folder: str, saved_model_dir: str, signature: Signature | str, model: bytes) -> None:
    """Writes a float file for a later step, which finds it as `FloatFiles(handed=[folder])`.

    Args:
      folder: an existing one.
      saved_model_dir: the SavedModel that the file was converted from.
      signature: its signature that was converted.
      model: the file's bytes.

    Example:
      >>> pass_on(calibration.uri, '/models/digits', 'serving_default', model)
    """
    _write(os.path.join(folder, PASSED_ON_FILE), _key(saved_model_dir, signature), model)


def _key(saved_model_dir: str, signature: Signature | str) -> str:
    decisive = [
        content_digest(saved_model_dir),
        name_of(signature),
        '' if isinstance(signature, str) or signature.source is None else repr(signature.source),
        *(importlib.metadata.version(package) for package in ('tensorflow', 'tfx-edge')),
    ]
    return hashlib.sha256('\n'.join(decisive).encode()).hexdigest()


def _read(path: str, key: str) -> bytes | None:
    """The file of an entry; None where there is none for this key, or it is damaged."""
    try:
        with tf.io.gfile.GFile(path, 'rb') as file:
            head, _, model = file.read().partition(b'\n')
    except tf.errors.NotFoundError:
        return None
    if head == _head(key, model):
        return model
    _LOG.info('%s is of another model or damaged, and not used', path)
    return None


def _write(path: str, key: str, model: bytes) -> None:
    tf.io.gfile.makedirs(os.path.dirname(path))
    draft = f'{path}.{uuid.uuid4().hex}{_UNFINISHED}'
    with tf.io.gfile.GFile(draft, 'wb') as file:
        file.write(_head(key, model) + b'\n' + model)
    tf.io.gfile.rename(draft, path, overwrite=True)


def _head(key: str, model: bytes) -> bytes:
    content = {'format_version': 1, 'key': key, 'sha256': hashlib.sha256(model).hexdigest()}
    return json.dumps(content, sort_keys=True).encode()


def _trim(folder: str) -> None:
    """Removes the oldest entries beyond the limits, and unfinished files of processes that died."""
    entries = []
    for name in tf.io.gfile.listdir(folder):
        path = os.path.join(folder, name)
        # Another process may remove it at the same time.
        with contextlib.suppress(tf.errors.NotFoundError):
            status = tf.io.gfile.stat(path)
            if name.endswith(_ENDING):
                entries.append((status.mtime_nsec, status.length, path))
            elif time.time() - status.mtime_nsec / _NANOSECONDS > _SECONDS_TO_FINISH:
                tf.io.gfile.remove(path)
    total = 0
    for number, (_, length, path) in enumerate(sorted(entries, reverse=True), 1):
        total += length
        if number > _MOST_ENTRIES or (total > _MOST_BYTES and number > 1):
            with contextlib.suppress(tf.errors.NotFoundError):
                tf.io.gfile.remove(path)
