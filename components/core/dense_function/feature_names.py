"""Which feature a tensor of a signature of strings is: an output of Transform, or a feature of the parse."""

from __future__ import annotations

import os
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import function_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.dense_function.flat_graph import applies_transform
from tfx_edge.components.core.dense_function.keras_functions import named_tensors
from tfx_edge.components.core.signature import TensorSpec

_PARSES = ('ParseExample', 'ParseExampleV2')
# In the folder of a TransformGraph: what it makes.
_SCHEMA = os.path.join('transformed_metadata', 'schema.pbtxt')
_DTYPES = {schema_pb2.FeatureType.FLOAT: tf.float32, schema_pb2.FeatureType.INT: tf.int64}


def feature_name(
    tensor: tf.Tensor,
    functions: Mapping[str, function_pb2.FunctionDef],
    meta_graph: meta_graph_pb2.MetaGraphDef,
    transform_graph: str | None,
) -> tuple[str, TensorSpec | None]:
    """Names a tensor by what flows into it.

    Args:
      tensor: of a graph of `flat_graph`, before the cut.
      functions: of that graph, by name.
      meta_graph: of the SavedModel.
      transform_graph: folder of the transform graph that the Trainer was given, or None.

    Returns:
      The name, '' where it cannot be told; and the spec that the SavedModel or the transform graph gives it, or None.
    """
    operation = tensor.op
    while operation.type == 'Identity':
        tensor = operation.inputs[0]
        operation = tensor.op
    if applies_transform(operation):
        called = functions[operation.get_attr('f').name]
        made = _outputs_of_transform(called, meta_graph, transform_graph)
        if len(made) != len(operation.outputs):
            return '', None
        # TensorFlow answers dictionaries in the order of their keys.
        name = sorted(made)[tensor.value_index]
        return name, made[name]
    keys = _parsed_features(tensor)
    return (keys.pop() if len(keys) == 1 else ''), None


def _outputs_of_transform(
    called: function_pb2.FunctionDef, meta_graph: meta_graph_pb2.MetaGraphDef, transform_graph: str | None
) -> Mapping[str, TensorSpec]:
    """The outputs of a function that applies a transform graph, as the SavedModel tells them, else that graph."""
    # Loading gives functions other names, and keeps those of their nodes.
    nodes = _node_names(called)
    for function in meta_graph.graph_def.library.function:
        known = meta_graph.object_graph_def.concrete_functions.get(function.signature.name)
        if known is not None and _node_names(function) == nodes:
            return named_tensors(known.output_signature)
    if transform_graph is None:
        return {}
    with tf.io.gfile.GFile(os.path.join(transform_graph, _SCHEMA)) as file:
        schema = text_format.Parse(file.read(), schema_pb2.Schema())
    return {feature.name: _spec(feature) for feature in schema.feature}


def _spec(feature: schema_pb2.Feature) -> TensorSpec:
    dtype = _DTYPES.get(feature.type, tf.string)
    if not feature.HasField('shape'):
        return TensorSpec((), dtype, False)
    return TensorSpec((None, *(dimension.size for dimension in feature.shape.dim)), dtype)


def _node_names(function: function_pb2.FunctionDef) -> set[str]:
    return {node.name for node in function.node_def}


def _parsed_features(tensor: tf.Tensor) -> set[str]:
    """The features of tf.Examples that a tensor is made of."""
    found: set[str] = set()
    seen: set[str] = set()
    pending = [tensor]
    while pending:
        source = pending.pop()
        if source.name in seen:
            continue
        seen.add(source.name)
        if source.op.type in _PARSES:
            found.add(_key(source))
        else:
            pending += source.op.inputs
    return found


def _key(tensor: tf.Tensor) -> str:
    """The feature that an output of a parse belongs to."""
    operation, index = tensor.op, tensor.value_index
    if operation.type == 'ParseExampleV2':
        sparse, dense, ragged = (list(tf.get_static_value(operation.inputs[i])) for i in (2, 3, 4))
    else:
        count, wide = operation.get_attr('Nsparse'), operation.get_attr('Ndense')
        keys = [tf.get_static_value(key) for key in operation.inputs[2 : 2 + count + wide]]
        sparse, dense, ragged = keys[:count], keys[count:], []
    # Indices, values and shapes of all sparse features, the dense ones, values and splits of the ragged ones.
    return [*sparse * 3, *dense, *ragged * 2][index].decode()
