"""A hash of a SavedModel's graph, variables and assets, which does not depend on the folder's path."""

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
      folders: subfolders that are hashed beside the graph.

    Returns:
      A SHA-256 in hexadecimal.

    Example:
      >>> content_digest('/models/digits') == content_digest('/a/copy/of/digits')
      True
    """
    digest = hashlib.sha256()
    for path in [os.path.join(saved_model_dir, 'saved_model.pb'), *_files(saved_model_dir, folders)]:
        digest.update(os.path.relpath(path, saved_model_dir).encode() + b'\0')
        with tf.io.gfile.GFile(path, 'rb') as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(saved_model_dir: str, folders: Sequence[str]) -> list[str]:
    """All files in some folders, at any depth, sorted. Walked, not globbed: a path may have brackets in it."""
    found = []
    for folder in folders:
        for place, _, names in tf.io.gfile.walk(os.path.join(saved_model_dir, folder)):
            found += [os.path.join(place, name) for name in names]
    return sorted(found)
