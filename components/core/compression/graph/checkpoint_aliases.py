"""Which checkpoint keys hold one and the same variable.

A SavedModel is read in two ways: TensorFlow 2 walks its object graph, TensorFlow 1 and LiteRT's converter
run its restore function. Where a variable was tracked by two objects (Keras 3 exports each variable twice),
the two read it from different keys, and both keys have to get its new value.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
from tensorflow.core.framework import function_pb2
from tensorflow.core.protobuf import (
    meta_graph_pb2,
    saved_object_graph_pb2,
    trackable_object_graph_pb2,
)

from tfx_edge.components.core.errors import EdgeError


def alias_keys(
    meta_graph: meta_graph_pb2.MetaGraphDef, stored: trackable_object_graph_pb2.TrackableObjectGraph
) -> dict[str, str]:
    """Pairs the key by which TensorFlow 2 reads a variable with the one TensorFlow 1 reads it by.

    The SavedModel holds each signature twice: as a function with bound objects, and as a call in the graph with
    variable handles as arguments. The captures of both are in the same order.

    Args:
      meta_graph: of the SavedModel.
      stored: the object graph of its checkpoint.

    Returns:
      The second key by the first, for variables that signatures use and whose keys differ.

    Raises:
      EdgeError: the SavedModel has no restore function, so TensorFlow 2 has not saved it.
    """
    by_handle = _keys_by_handle(meta_graph)
    by_node = _keys_by_node(meta_graph.object_graph_def, stored)
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    aliases = {}
    for signature in meta_graph.signature_def.values():
        for output in signature.outputs.values():
            call = nodes.get(output.name.split(':')[0])
            if call is None:
                continue
            concrete = meta_graph.object_graph_def.concrete_functions.get(call.attr['f'].func.name)
            if concrete is None or not concrete.bound_inputs:
                continue
            handles = list(call.input)[-len(concrete.bound_inputs) :]
            for node_id, handle in zip(concrete.bound_inputs, handles, strict=True):
                first, second = by_node.get(node_id), by_handle.get(handle)
                if first and second and first != second:
                    aliases[first] = second
    return aliases


def _keys_by_handle(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, str]:
    """Reads off the restore function which key each variable handle is assigned from."""
    restore = next(
        (n for n in meta_graph.graph_def.node if n.name == meta_graph.saver_def.restore_op_name), None
    )
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    function = functions.get(restore.attr['f'].func.name) if restore is not None else None
    if restore is None or function is None:
        raise EdgeError(
            'the SavedModel has no restore function; tfx-edge needs one exported by TensorFlow 2. '
            'Export the model with tf.saved_model.save or Keras.'
        )
    arguments = dict(zip((a.name for a in function.signature.input_arg), restore.input, strict=True))
    return {arguments[argument]: key for argument, key in _assignments(function) if argument in arguments}


def _assignments(function: function_pb2.FunctionDef) -> Iterator[tuple[str, str]]:
    """(argument, key) of each assignment of a restored tensor."""
    nodes = {node.name: node for node in function.node_def}

    def producer(name: str) -> str:
        return name.split(':')[0]

    for assign in function.node_def:
        if assign.op != 'AssignVariableOp':
            continue
        value = assign.input[1]
        while producer(value) in nodes and nodes[producer(value)].op == 'Identity':
            value = nodes[producer(value)].input[0]
        restore = nodes.get(producer(value))
        if restore is None or restore.op != 'RestoreV2':
            continue
        names = tf.make_ndarray(nodes[producer(restore.input[1])].attr['value'].tensor)
        yield assign.input[0], names[int(value.split(':')[-1])].decode()


def _keys_by_node(
    saved: saved_object_graph_pb2.SavedObjectGraph,
    stored: trackable_object_graph_pb2.TrackableObjectGraph,
) -> dict[int, str]:
    """Checkpoint keys by node of the SavedModel's object graph; both graphs have the same edges."""
    keys: dict[int, str] = {}
    pairs, seen = [(0, 0)], {0}
    while pairs:
        saved_id, stored_id = pairs.pop()
        if stored.nodes[stored_id].attributes:
            keys[saved_id] = stored.nodes[stored_id].attributes[0].checkpoint_key
        children = {child.local_name: child.node_id for child in stored.nodes[stored_id].children}
        for child in saved.nodes[saved_id].children:
            if child.node_id not in seen and child.local_name in children:
                seen.add(child.node_id)
                pairs.append((child.node_id, children[child.local_name]))
    return keys
