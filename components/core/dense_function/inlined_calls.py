"""Inlines the function calls that TensorFlow leaves in a graph.

TensorFlow does not inline a function that is marked for compilation. Keras puts each grouped convolution into such a
function, in which neither its kernel nor the operators after it would be found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

from tfx_edge.components.core import tensorflow_internals
from tfx_edge.components.core.tensor_names import producer

CALLS = ('PartitionedCall', 'StatefulPartitionedCall')


def with_calls_inlined(
    graph_def: graph_pb2.GraphDef, kept: Collection[str], stays: Callable[[str], bool] = lambda name: False
) -> graph_pb2.GraphDef:
    """An equivalent graph with the calls of its functions inlined; bodies of loops and branches stay functions.

    Args:
      graph_def: with its functions.
      kept: names of tensors that are to keep their names.
      stays: whether calls of a function, given by its name, stay too.

    Returns:
      A graph. The nodes of a function have the name of their call in front.

    Example:
      >>> [node.name for node in with_calls_inlined(graph_def, ['Identity:0']).node if node.op == 'Conv2D']
      ['conv2d/StatefulPartitionedCall/convolution']
    """
    functions = {function.signature.name: function for function in graph_def.library.function}
    ends = {producer(name) for name in kept}
    inlined = {name: function for name, function in functions.items() if not stays(name)}
    calls = [n for n in graph_def.node if _is_inlined(n, inlined, ends)]
    while calls:
        graph_def = _inlined(graph_def, calls, inlined)
        calls = [n for n in graph_def.node if _is_inlined(n, inlined, ends)]
    return graph_def


def _is_inlined(
    node: node_def_pb2.NodeDef, functions: Mapping[str, function_pb2.FunctionDef], ends: Collection[str]
) -> bool:
    return node.op in CALLS and node.attr['f'].func.name in functions and node.name not in ends


def _inlined(
    graph_def: graph_pb2.GraphDef,
    calls: Collection[node_def_pb2.NodeDef],
    functions: Mapping[str, function_pb2.FunctionDef],
) -> graph_pb2.GraphDef:
    """The graph with some calls replaced by what they call."""
    names = {node.name for node in calls}
    nodes: list[node_def_pb2.NodeDef] = []
    results: dict[str, str] = {}
    for node in graph_def.node:
        if node.name in names:
            body, returned = _body(node, functions[node.attr['f'].func.name])
            nodes += body
            results.update({f'{node.name}:{index}': name for index, name in enumerate(returned)})
            results[node.name] = results.get(f'{node.name}:0', '')
        else:
            nodes.append(node)
    part = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in nodes:
        copy = part.node.add()
        copy.CopyFrom(node)
        # Control inputs from inlined calls are dropped: those nodes are gone, and carried no value.
        wanted = [name for name in node.input if not (name.startswith('^') and producer(name) in names)]
        copy.input[:] = [_resolved(name, results) for name in wanted]
    return part


def _resolved(name: str, results: Mapping[str, str]) -> str:
    while name in results:
        name = results[name]
    return name


def _body(
    call: node_def_pb2.NodeDef, function: function_pb2.FunctionDef
) -> tuple[list[node_def_pb2.NodeDef], list[str]]:
    """The nodes of a function, renamed for the graph that calls it, and the names of the tensors that it returns."""
    body, flat_names = tensorflow_internals.function_as_graph(function)
    arguments = [argument.name for argument in function.signature.input_arg]
    given = dict(zip(arguments, call.input, strict=False))

    def outside(name: str) -> str:
        if producer(name) in given:
            return f'^{producer(given[producer(name)])}' if name.startswith('^') else given[producer(name)]
        return f'^{call.name}/{name[1:]}' if name.startswith('^') else f'{call.name}/{name}'

    nodes = []
    for node in body.node:
        if node.name in given:
            continue
        copy = node_def_pb2.NodeDef()
        copy.CopyFrom(node)
        copy.name = f'{call.name}/{node.name}'
        copy.input[:] = [outside(name) for name in node.input]
        nodes.append(copy)
    return nodes, [outside(flat_names[function.ret[output.name]]) for output in function.signature.output_arg]
