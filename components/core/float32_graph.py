"""A graph that computes in float32 what it computed in float64, float16 or bfloat16: LiteRT has no such arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2, types_pb2

_OTHERS = {types_pb2.DT_DOUBLE, types_pb2.DT_HALF, types_pb2.DT_BFLOAT16}
# Appended to the names of functions.
_ENDING = '_float32'


def other_types(graph_def: graph_pb2.GraphDef) -> list[str]:
    """The floating types but float32 that a graph computes in, sorted.

    Example:
      >>> other_types(graph.graph_def)
      ['float16']
    """
    found = {kind for node in _all_nodes(graph_def) for kind in _types(node) if kind in _OTHERS}
    return sorted(tf.dtypes.as_dtype(kind).name for kind in found)


def in_float32(graph_def: graph_pb2.GraphDef, given: Collection[str] = ()) -> graph_pb2.GraphDef:
    """The same graph in float32.

    Args:
      graph_def: with its functions.
      given: nodes whose results come from outside and keep their type; a Cast to float32 follows each.

    Returns:
      A new graph with the same names of nodes; functions have another name.

    Example:
      >>> other_types(in_float32(graph_def))
      []
    """
    result = graph_pb2.GraphDef()
    result.CopyFrom(graph_def)
    names = {function.signature.name for function in result.library.function}
    for function in result.library.function:
        function.signature.name += _ENDING
        for argument in [*function.signature.input_arg, *function.signature.output_arg]:
            if argument.type in _OTHERS:
                argument.type = types_pb2.DT_FLOAT
    kept = [n for n in result.node if n.name in given and any(kind in _OTHERS for kind in _types(n))]
    for node in _all_nodes(result):
        for value in node.attr.values():
            _rename_functions(value, names)
            if not any(node is other for other in kept):
                _retype(value)
    for node in result.node:  # in a function the result of an Identity has another name
        if node.op == 'Cast' and node.attr['SrcT'].type == node.attr['DstT'].type:
            _make_identity(node)
    converted = {node.name: _converted(node) for node in kept}
    for node in result.node:
        node.input[:] = [
            converted[name.removesuffix(':0')].name if name.removesuffix(':0') in converted else name
            for name in node.input
        ]
    result.node.extend(converted.values())
    return result


def _all_nodes(graph_def: graph_pb2.GraphDef) -> list[node_def_pb2.NodeDef]:
    bodies: Iterable[Iterable[node_def_pb2.NodeDef]] = (f.node_def for f in graph_def.library.function)
    return [*graph_def.node, *(node for body in bodies for node in body)]


def _types(node: node_def_pb2.NodeDef) -> list[int]:
    return [kind for value in node.attr.values() for kind in (value.type, *value.list.type)]


def _rename_functions(value: attr_value_pb2.AttrValue, names: Collection[str]) -> None:
    functions = [value.func] if value.HasField('func') else list(value.list.func)
    for function in functions:
        if function.name in names:
            function.name += _ENDING


def _retype(value: attr_value_pb2.AttrValue) -> None:
    if value.type in _OTHERS:
        value.type = types_pb2.DT_FLOAT
    for index, kind in enumerate(value.list.type):
        if kind in _OTHERS:
            value.list.type[index] = types_pb2.DT_FLOAT
    if value.HasField('tensor') and value.tensor.dtype in _OTHERS:
        numbers = tf.make_ndarray(value.tensor).astype(np.float32)
        value.tensor.CopyFrom(tf.make_tensor_proto(numbers))


def _make_identity(cast: node_def_pb2.NodeDef) -> None:
    kind = cast.attr['DstT'].type
    cast.op = 'Identity'
    cast.attr.clear()
    cast.attr['T'].type = kind


def _converted(node: node_def_pb2.NodeDef) -> node_def_pb2.NodeDef:
    """A Cast of a node's result to float32."""
    cast = node_def_pb2.NodeDef(op='Cast', name=f'{node.name}/tfx_edge_float32', input=[node.name])
    cast.attr['SrcT'].type = node.attr['dtype'].type
    cast.attr['DstT'].type = types_pb2.DT_FLOAT
    return cast
