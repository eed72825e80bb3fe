"""Unrolls loops with a known number of rounds.

Keras 3 computes LSTM and GRU in a loop over the steps, which LiteRT's converter does not take with an open batch. Such
a loop has as many rounds as a sequence has steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tensorflow.core.framework import graph_pb2, node_def_pb2

from tfx_edge.components.core.loops.constant_values import ConstantValues
from tfx_edge.components.core.loops.function_bodies import FunctionBody, function_body
from tfx_edge.components.core.loops.longest_loop import MOST_ROUNDS
from tfx_edge.components.core.loops.tensor_lists import UnknownListError, without_lists

_LOOPS = ('While', 'StatelessWhile')


def unroll(graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef | None:
    """A graph that computes the same without loops over the steps of a sequence.

    Args:
      graph_def: a graph with its functions.

    Returns:
      The graph, in which operations of loops have the names '<loop>/<round>/<operation>'. None where there is no loop,
      or where one has more than MOST_ROUNDS rounds, a number of them that depends on the inputs, or lists of tensors
      that are used otherwise than Keras uses them.

    Example:
      >>> unrolled = unroll(graph_def)
      >>> any(node.op == 'While' for node in unrolled.node)
      False
    """
    if not any(node.op in _LOOPS for node in graph_def.node):
        return None
    functions = {function.signature.name: function for function in graph_def.library.function}
    constants = ConstantValues(graph_def.node)
    result = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    renamed: dict[str, str] = {}
    for node in graph_def.node:
        if node.op not in _LOOPS:
            result.node.add().CopyFrom(node)
            continue
        condition, body = (function_body(functions[node.attr[key].func.name]) for key in ('cond', 'body'))
        rounds = _rounds(node, condition, body, constants)
        if rounds is None:
            return None
        ends = _written_out(result, node, body, rounds)
        renamed |= {f'{node.name}:{index}': tensor for index, tensor in enumerate(ends)}
    for node in result.node:
        node.input[:] = [_renamed(name, renamed) for name in node.input if not _waits_for_loop(name, renamed)]
    try:
        return without_lists(result)
    except UnknownListError:
        return None


def _rounds(
    loop: node_def_pb2.NodeDef, condition: FunctionBody, body: FunctionBody, constants: ConstantValues
) -> int | None:
    """How often a loop's body runs; None where that is not known, or too often."""
    values: list[np.ndarray | None] = [constants[name] for name in loop.input if not name.startswith('^')]
    for count in range(MOST_ROUNDS + 1):
        goes_on = _results(condition, values)[0]
        if goes_on is None:
            return None
        if not goes_on:
            return count
        values = _results(body, values)
    return None


def _results(body: FunctionBody, values: list[np.ndarray | None]) -> list[np.ndarray | None]:
    constants = ConstantValues(body.nodes, dict(zip(body.arguments, values, strict=True)))
    return [constants[result] for result in body.results]


def _written_out(
    result: graph_pb2.GraphDef, loop: node_def_pb2.NodeDef, body: FunctionBody, rounds: int
) -> list[str]:
    """Adds the rounds of a loop; returns the tensors that it ends with."""
    values = [name for name in loop.input if not name.startswith('^')]
    shorter = _shorter(loop.name, [node.name for node in body.nodes])
    for number in range(rounds):
        # A tensor of the graph for each argument and operation of the body.
        names = {name: f'{loop.name}/{number}/{short}' for name, short in shorter.items()}
        names |= dict(zip(body.arguments, values, strict=True))
        for node in body.nodes:
            copy = result.node.add()
            copy.CopyFrom(node)
            copy.name = names[node.name]
            waits = {f'^{argument}' for argument in body.arguments}
            copy.input[:] = [_within(name, names) for name in node.input if name not in waits]
            copy.attr.pop('_class', None)  # colocates with a node by its old name
        values = [_within(name, names) for name in body.results]
    return values


def _shorter(loop: str, names: list[str]) -> dict[str, str]:
    """Names of a body's operations without the scopes that are in the loop's name, if they stay distinct."""
    scopes = loop.split('/')
    scopes = ['/'.join(scopes[start:]) + '/' for start in range(len(scopes))]
    shorter = {
        name: next((name[len(scope) :] for scope in scopes if name.startswith(scope)), name) for name in names
    }
    return shorter if len(set(shorter.values())) == len(names) else dict(zip(names, names, strict=True))


def _within(name: str, names: Mapping[str, str]) -> str:
    """An input of an operation of the body, or a result, as the graph spells it."""
    if name.startswith('^'):
        return f'^{names[name[1:]]}'
    node, colon, index = name.partition(':')
    found = names[node]
    # An argument stands for a tensor that has an index already.
    return found if ':' in found else found + colon + index


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    tensor = name if ':' in name else f'{name}:0'
    while tensor in renamed:  # the end of a loop may be the start of the next
        tensor = renamed[tensor]
        tensor = tensor if ':' in tensor else f'{tensor}:0'
        name = tensor
    return name


def _waits_for_loop(name: str, renamed: Mapping[str, str]) -> bool:
    return name.startswith('^') and f'{name[1:]}:0' in renamed
