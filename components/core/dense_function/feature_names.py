"""Finds the feature that a tensor stands for in a signature of strings: an output of Transform, or of the parse."""

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
# In a TransformGraph's folder: the schema of its outputs.
_SCHEMA = os.path.join('transformed_metadata', 'schema.pbtxt')
_DTYPES = {schema_pb2.FeatureType.FLOAT: tf.float32, schema_pb2.FeatureType.INT: tf.int64}


class Features:
    """The features that reach a signature's graph: what Transform makes, what is parsed, or the inputs themselves.

    Args:
      functions: of the graph, by name.
      meta_graph: of the SavedModel.
      transform_graph: folder of the transform graph that the Trainer was given, or None.
      given: the signature's inputs, by the name of the placeholder.
    """

    def __init__(
        self,
        functions: Mapping[str, function_pb2.FunctionDef],
        meta_graph: meta_graph_pb2.MetaGraphDef,
        transform_graph: str | None,
        given: Mapping[str, str],
    ) -> None:
        self._functions = functions
        self._meta_graph = meta_graph
        self._transform_graph = transform_graph
        self._given = given

    def behind(self, tensor: tf.Tensor) -> list[tf.Tensor]:
        """The features that a tensor is computed from, in the order of their names in the graph."""
        found: dict[str, tf.Tensor] = {}
        seen: set[str] = set()
        pending = [tensor]
        while pending:
            source = pending.pop()
            if source.name in seen:
                continue
            seen.add(source.name)
            operation = source.op
            if operation.type in _PARSES or applies_transform(operation) or operation.name in self._given:
                found[source.name] = source
            else:
                pending += operation.inputs
        return [found[name] for name in sorted(found)]

    def is_parsed(self, tensor: tf.Tensor) -> bool:
        """Whether a feature is an output of parsing tf.Examples, and not of a transform graph."""
        return tensor.op.type in _PARSES

    def name(self, tensor: tf.Tensor) -> tuple[str, TensorSpec | None]:
        """Names a feature.

        Returns:
          The name, '' where it is not known; and the spec that the SavedModel or the transform graph gives it, or
          None.
        """
        operation = tensor.op
        if operation.type in _PARSES:
            return _key(tensor), None
        if not applies_transform(operation):
            return self._given[operation.name], None
        called = self._functions[operation.get_attr('f').name]
        made = _outputs_of_transform(called, self._meta_graph, self._transform_graph)
        if len(made) != len(operation.outputs):
            return '', None
        # TensorFlow answers dictionaries in the order of their keys.
        name = sorted(made)[tensor.value_index]
        return name, made[name]


def _outputs_of_transform(
    called: function_pb2.FunctionDef, meta_graph: meta_graph_pb2.MetaGraphDef, transform_graph: str | None
) -> Mapping[str, TensorSpec]:
    """The outputs of a function that applies a transform graph: from the SavedModel, else from the graph's schema."""
    # Loading renames functions, and keeps the names of their nodes.
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
