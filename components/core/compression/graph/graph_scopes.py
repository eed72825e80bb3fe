"""A graph and the bodies of its loops and branches, and what in each depends on an input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

from tfx_edge.components.core.compression.graph.lifted_variables import (
    FUNCTION_ATTRIBUTES,
    LOOPS,
    called_functions,
    first_argument,
)
from tfx_edge.components.core.tensor_names import producer

Nodes = Mapping[str, node_def_pb2.NodeDef]


@dataclasses.dataclass(frozen=True)
class Scope:
    """A graph, or a function that one of its operations calls.

    Attributes:
      nodes: by name; only those that results depend on.
      consumers: names of the nodes that use each node and argument.
      dynamic: nodes and arguments that depend on an input; all others are constant.
      outer: for each argument that has the same value in every iteration: the enclosing scope, and the tensor there.
      is_body: whether it is a function, not the graph itself.
    """

    nodes: Nodes
    consumers: Mapping[str, Sequence[str]]
    dynamic: frozenset[str]
    outer: Mapping[str, tuple[Scope, str]]
    is_body: bool


def scopes(graph_def: graph_pb2.GraphDef, inputs: Iterable[str]) -> Iterator[Scope]:
    """The graph itself, then the functions of its loops, branches and calls, depth first.

    Args:
      graph_def: with its functions.
      inputs: names of the tensors that are fed.
    """
    nodes = {node.name: node for node in graph_def.node}
    consumers = consumers_of(graph_def.node)
    top = Scope(nodes, consumers, reached(map(producer, inputs), consumers), {}, is_body=False)
    functions = {function.signature.name: function for function in graph_def.library.function}
    yield top
    yield from _bodies(top, functions)


def consumers_of(nodes: Iterable[node_def_pb2.NodeDef]) -> dict[str, list[str]]:
    """Names of the nodes that use each node or argument."""
    nodes = list(nodes)
    consumers: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for name in node.input:
            if not name.startswith('^'):
                consumers.setdefault(producer(name), []).append(node.name)
    return consumers


def reached(sources: Iterable[str], consumers: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The sources, and all nodes that depend on them."""
    found = set(sources)
    pending = list(found)
    while pending:
        for name in consumers.get(pending.pop(), ()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return frozenset(found)


def _bodies(scope: Scope, functions: Mapping[str, function_pb2.FunctionDef]) -> Iterator[Scope]:
    for node in scope.nodes.values():
        if node.op in FUNCTION_ATTRIBUTES:
            for name in called_functions(node):
                body = _body(scope, node, functions[name])
                yield body
                yield from _bodies(body, functions)


def _body(scope: Scope, node: node_def_pb2.NodeDef, function: function_pb2.FunctionDef) -> Scope:
    arguments = [argument.name for argument in function.signature.input_arg]
    given = dict(zip(arguments, node.input[first_argument(node) :], strict=False))
    returned = [function.ret[output.name] for output in function.signature.output_arg]
    nodes = _needed(function, returned)
    if node.op in LOOPS:
        fixed = {
            argument
            for argument, result in zip(arguments, returned, strict=False)
            if argument == _source(nodes, result)
        }
    else:
        fixed = set(arguments)
    outer = {argument: (scope, given[argument]) for argument in fixed}
    consumers = consumers_of(nodes.values())
    dynamic = {a for a in arguments if a not in outer or producer(given[a]) in scope.dynamic}
    return Scope(nodes, consumers, reached(dynamic, consumers), outer, is_body=True)


def _source(nodes: Nodes, tensor: str) -> str:
    name = producer(tensor)
    while name in nodes and nodes[name].op == 'Identity':
        name = producer(nodes[name].input[0])
    return name


def _needed(function: function_pb2.FunctionDef, returned: Sequence[str]) -> dict[str, node_def_pb2.NodeDef]:
    nodes = {node.name: node for node in function.node_def}
    needed = {producer(name) for name in returned}
    pending = list(needed)
    while pending:
        name = pending.pop()
        for other in nodes[name].input if name in nodes else ():
            if producer(other) not in needed:
                needed.add(producer(other))
                pending.append(producer(other))
    return {name: node for name, node in nodes.items() if name in needed}
