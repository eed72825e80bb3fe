"""Names of functions that no other graph of the process has.

TensorFlow derives the gradient of a loop from the loop's functions and keeps it under names made of theirs; two graphs
with functions of one name and other gradients, such as the same model trained by two components, could not be in one
process.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tensorflow.core.framework import graph_pb2, node_def_pb2

_NUMBERS = itertools.count()


def with_unique_functions(graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """A copy of a graph whose functions have a number of their own in their names.

    Example:
      >>> [function.signature.name for function in with_unique_functions(graph_def).library.function]
      ['while_body_17_of_3', 'while_cond_16_of_3']
    """
    renamed = graph_pb2.GraphDef()
    renamed.CopyFrom(graph_def)
    number = next(_NUMBERS)
    names = {f.signature.name: f'{f.signature.name}_of_{number}' for f in renamed.library.function}
    for node in renamed.node:
        _rename(node, names)
    for function in renamed.library.function:
        function.signature.name = names[function.signature.name]
        for node in function.node_def:
            _rename(node, names)
    for gradient in renamed.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    return renamed


def _rename(node: node_def_pb2.NodeDef, names: Mapping[str, str]) -> None:
    for value in node.attr.values():
        for reference in [value.func] if value.HasField('func') else value.list.func:
            reference.name = names.get(reference.name, reference.name)
