"""The body of a graph's function, as nodes of a graph: an adapter for a function that TensorFlow does not export."""

from __future__ import annotations

import dataclasses

from tensorflow.core.framework import function_pb2, node_def_pb2


@dataclasses.dataclass(frozen=True)
class FunctionBody:
    """A function's nodes.

    Attributes:
      arguments: names of the placeholders that stand for its arguments.
      nodes: all others.
      results: the tensors that it returns.
    """

    arguments: tuple[str, ...]
    nodes: tuple[node_def_pb2.NodeDef, ...]
    results: tuple[str, ...]


def function_body(function: function_pb2.FunctionDef) -> FunctionBody:
    """The body of a function, with tensor names as in a graph: 'node:0' for 'node:output:0'."""
    from tensorflow.python.framework import function_def_to_graph

    graph_def, names = function_def_to_graph.function_def_to_graph_def(function)
    arguments = tuple(argument.name for argument in function.signature.input_arg)
    return FunctionBody(
        arguments=arguments,
        nodes=tuple(node for node in graph_def.node if node.name not in arguments),
        results=tuple(names[function.ret[output.name]] for output in function.signature.output_arg),
    )
