"""What a SavedModel holds, as one number: the same graph, variables and assets give the same wherever they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import tensorflow as tf

_CHUNK = 2**24


def content_digest(saved_model_dir: str, folders: Sequence[str] = ('variables', 'assets')) -> str:
    """A hash of a SavedModel's graph, variables and assets.

    Args:
      saved_model_dir: the folder of the SavedModel.
      folders: what counts beside the graph.

    Returns:
      A SHA-256 in hexadecimal.

    Example:
      >>> content_digest('/models/digits')[:8]
      'b0e0f0a0'
    """
    digest = hashlib.sha256()
    paths = [os.path.join(saved_model_dir, 'saved_model.pb')]
    for folder in folders:
        paths += sorted(tf.io.gfile.glob(os.path.join(saved_model_dir, folder, '*')))
    for path in paths:
        if tf.io.gfile.isdir(path):
            continue
        digest.update(os.path.relpath(path, saved_model_dir).encode() + b'\0')
        with tf.io.gfile.GFile(path, 'rb') as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
