"""The dense function behind a signature of serialized tf.Examples or other strings."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from tfx_edge.components.core.dense_function.feature_names import feature_name
from tfx_edge.components.core.dense_function.flat_graph import flat_graph
from tfx_edge.components.core.dense_function.string_cut import Cut, cut_behind_strings
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import Signature, Source, TensorSpec, why_not_dense

_LOG = logging.getLogger(__name__)


def function_behind_strings(
    loaded: Any, signature: Signature, meta_graph: meta_graph_pb2.MetaGraphDef, transform_graph: str | None
) -> Signature:
    """Cuts the graph of a signature behind parsing, decoding and Transform.

    Args:
      loaded: what `tf.saved_model.load` made of the SavedModel.
      signature: with an input of strings.
      meta_graph: of the SavedModel.
      transform_graph: folder of the transform graph that the Trainer was given, or None.

    Returns:
      The dense part, with the names of features as inputs and the signature's outputs of numbers.

    Raises:
      EdgeError: there is none; the message is the end of a sentence.
    """
    if not any(spec.dtype == tf.string for spec in signature.inputs.values()):
        raise EdgeError('it takes no strings that are parsed into something dense')
    whole = loaded.signatures[signature.name]
    count = len(whole.inputs) - len(whole.captured_inputs)
    names = sorted(whole.structured_outputs)
    handles = {id(variable.handle) for variable in whole.variables}
    variables = {
        tensor.op.name
        for tensor, value in zip(whole.inputs[count:], whole.captured_inputs, strict=True)
        if id(value) in handles
    }
    graph_def = flat_graph(whole)
    cut = cut_behind_strings(
        graph_def,
        [tensor.name for tensor in whole.inputs[:count]],
        variables,
        {name: tensor.name for name, tensor in zip(names, whole.outputs, strict=True)},
    )
    if not cut.outputs or not cut.has_weights:
        raise EdgeError('no number that it answers is made by weights behind its strings')
    places, specs = _named(cut, graph_def, meta_graph, transform_graph)
    outputs = {name: signature.outputs[name] for name in cut.outputs}
    source = Source(
        tuple(sorted(places.items())),
        tuple((name, tensor.name) for name, tensor in sorted(cut.outputs.items())),
        batch_sizes=cut.batch_sizes,
    )
    found = Signature(signature.name, dict(sorted(specs.items())), outputs, source)
    if fault := why_not_dense(found):
        raise EdgeError(f'{fault} where it becomes dense')
    if cut.strings:
        _LOG.info(
            'outputs of signature %r that are no numbers, or no result of the weights, are left out: %s',
            signature.name,
            ', '.join(map(repr, cut.strings)),
        )
    return found


def _named(
    cut: Cut,
    graph_def: graph_pb2.GraphDef,
    meta_graph: meta_graph_pb2.MetaGraphDef,
    transform_graph: str | None,
) -> tuple[dict[str, str], dict[str, TensorSpec]]:
    """The tensor, and the spec, of each input by its name."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    places: dict[str, str] = {}
    specs: dict[str, TensorSpec] = {}
    for origin, tensor in zip(cut.origins, cut.inputs, strict=True):
        name, told = feature_name(origin, functions, meta_graph, transform_graph)
        if not name:
            raise EdgeError(
                f'nothing names the feature that {tensor.name!r} is, where it becomes dense; give the transform_graph '
                'that the Trainer was given'
            )
        if name in places:
            raise EdgeError(
                f'feature {name!r} reaches the weights in two ways, {places[name]!r} and {tensor.name!r}'
            )
        places[name] = tensor.name
        shape = tensor.shape
        if shape.rank is None and told is not None and told.has_rank:
            shape = tf.TensorShape(told.shape)
        if shape.rank is None:
            shape = _saved_shape(tensor, meta_graph)
        specs[name] = TensorSpec(
            (None, *shape[1:]) if shape.rank else (), tensor.dtype, shape.rank is not None
        )
    return places, specs


def _saved_shape(tensor: tf.Tensor, meta_graph: meta_graph_pb2.MetaGraphDef) -> tf.TensorShape:
    """The shape that the SavedModel notes of a tensor, which loading forgets; unknown where it notes several."""
    shapes = {
        str(noted[tensor.value_index]): noted[tensor.value_index]
        for function in meta_graph.graph_def.library.function
        for node in function.node_def
        if tensor.op.name.endswith(f'/{node.name}') and node.op == tensor.op.type
        for noted in [node.attr['_output_shapes'].list.shape]
        if len(noted) > tensor.value_index
    }
    return tf.TensorShape(next(iter(shapes.values()))) if len(shapes) == 1 else tf.TensorShape(None)
