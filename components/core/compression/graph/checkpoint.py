"""The variables of a SavedModel: the checkpoint key of each, and writing a SavedModel with other values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tfx_edge.components.core import tensorflow_internals
from tfx_edge.components.core.compression.graph import checkpoint_aliases
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import read_saved_model

_OBJECT_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH'
_REWRITTEN = ('variables', 'fingerprint.pb')


def checkpoint_keys(saved_model_dir: str, loaded: Any) -> dict[int, str]:
    """Maps the variables of a loaded SavedModel to the keys of its checkpoint.

    The object graph of the checkpoint and that of the loaded model have the same edges; both are
    walked together from their roots.

    Args:
      saved_model_dir: the folder of the SavedModel.
      loaded: what `tf.saved_model.load` made of it.

    Returns:
      Checkpoint key by `id` of the variable's handle.

    Raises:
      EdgeError: the checkpoint holds no object graph (a SavedModel of TensorFlow 1).
    """
    return {
        id(trackable.handle): keys[0]
        for trackable, keys in _stored_trackables(saved_model_dir, loaded)
        if hasattr(trackable, 'handle')
    }


def restore(saved_model_dir: str, loaded: Any) -> bool:
    """Gives the variables of a loaded SavedModel the values of another checkpoint of the same graph.

    Args:
      saved_model_dir: the folder of the SavedModel with the values.
      loaded: what `tf.saved_model.load` made of another one.

    Returns:
      Whether the values were restored. False, with nothing changed, where the checkpoint holds anything but these.
    """
    stored = list(_stored_trackables(saved_model_dir, loaded))
    if not all(isinstance(trackable, tf.Variable) and len(keys) == 1 for trackable, keys in stored):
        return False
    reader = tf.train.load_checkpoint(_prefix(saved_model_dir))
    known = {key for _, (key,) in stored} | {_OBJECT_GRAPH}
    if known != set(reader.get_variable_to_shape_map()):
        return False
    for variable, (key,) in stored:
        variable.assign(reader.get_tensor(key))
    return True


def _stored_trackables(saved_model_dir: str, loaded: Any) -> Iterator[tuple[Any, list[str]]]:
    """Each object of a loaded SavedModel that the checkpoint holds values of, and the keys of these values."""
    stored = _object_graph(saved_model_dir)
    view = tf.train.TrackableView(loaded)
    pairs = [(0, view.root)]
    seen = {0}
    while pairs:
        node_id, trackable = pairs.pop()
        node = stored.nodes[node_id]
        if node.attributes:
            yield trackable, [attribute.checkpoint_key for attribute in node.attributes]
        children = view.children(trackable)
        for child in node.children:
            if child.node_id not in seen and child.local_name in children:
                seen.add(child.node_id)
                pairs.append((child.node_id, children[child.local_name]))


def write_with_values(source: str, target: str, values: Mapping[str, np.ndarray]) -> None:
    """Writes a SavedModel that differs from `source` in the values of some variables, and in nothing else.

    Every other file is copied byte for byte; all tensors of the checkpoint keep their keys.

    Args:
      source: the folder of the SavedModel.
      target: an existing folder to write to.
      values: new values by checkpoint key, of the stored shape and dtype.

    Raises:
      EdgeError: a key is not in the checkpoint, or a value has another shape.

    Example:
      >>> write_with_values('/models/digits', '/models/pruned', {'variables/0/.ATTRIBUTES/VARIABLE_VALUE': kernel})
    """
    _copy_folder(source, target, skip=_REWRITTEN)
    reader = tf.train.load_checkpoint(_prefix(source))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    aliases = checkpoint_aliases.alias_keys(read_saved_model(source).meta_graphs[0], _object_graph(source))
    values = {**values, **{aliases[key]: value for key, value in values.items() if key in aliases}}
    for key, value in values.items():
        if key not in shapes or list(value.shape) != list(shapes[key]):
            raise EdgeError(
                f'{key!r} cannot take a value of shape {tuple(value.shape)} (the checkpoint holds '
                f'{shapes.get(key, "no such key")}); write values of the variables that were read.'
            )
    names = sorted(shapes)
    tensors = [tf.constant(values.get(name, reader.get_tensor(name)), dtypes[name]) for name in names]
    tf.io.gfile.makedirs(os.path.join(target, 'variables'))
    tf.raw_ops.SaveV2(
        prefix=_prefix(target), tensor_names=names, shape_and_slices=[''] * len(names), tensors=tensors
    )
    if tf.io.gfile.exists(os.path.join(source, 'fingerprint.pb')):
        tensorflow_internals.write_fingerprint(target)


def _object_graph(saved_model_dir: str) -> trackable_object_graph_pb2.TrackableObjectGraph:
    prefix = _prefix(saved_model_dir)
    reader = tf.train.load_checkpoint(prefix)
    if not reader.has_tensor(_OBJECT_GRAPH):
        raise EdgeError(
            f'{prefix} holds no object graph; tfx-edge needs a SavedModel exported by TensorFlow 2. '
            'Export the model with tf.saved_model.save or Keras.'
        )
    return trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))


def _prefix(saved_model_dir: str) -> str:
    return os.path.join(saved_model_dir, 'variables', 'variables')


def _copy_folder(source: str, target: str, skip: tuple[str, ...] = ()) -> None:
    tf.io.gfile.makedirs(target)
    for name in sorted(tf.io.gfile.listdir(source)):
        name = name.rstrip('/')
        if name in skip:
            continue
        if tf.io.gfile.isdir(os.path.join(source, name)):
            _copy_folder(os.path.join(source, name), os.path.join(target, name))
        else:
            tf.io.gfile.copy(os.path.join(source, name), os.path.join(target, name), overwrite=True)
