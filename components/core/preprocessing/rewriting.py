"""Rewrites the numeric preprocessing of a graph in operators that LiteRT has.

It rewrites what can be exact: counts of integers, and lookups of integers in tables. Operators on strings stay
(hashing too, for it hashes the decimal digits of an integer), and LiteRT's converter names them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from tfx_edge.components.core.preprocessing.added_nodes import AddedNodes
from tfx_edge.components.core.preprocessing.bincounts import CountSizes, write_count
from tfx_edge.components.core.preprocessing.lookup_tables import (
    INTEGERS,
    MOST_KEYS,
    LookupTable,
    write_lookup,
)
from tfx_edge.components.core.preprocessing.operators import COUNT, REWRITTEN

_LOG = logging.getLogger(__name__)


def has_rewritten(graph_def: graph_pb2.GraphDef) -> bool:
    """Whether a graph, or a function that it brings along, has one of the operators.

    Example:
      >>> has_rewritten(graph_def)
      True
    """
    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    return any(node.op in REWRITTEN for body in bodies for node in body)


def rewritten(graph_def: graph_pb2.GraphDef, handles: Mapping[str, Any]) -> graph_pb2.GraphDef:
    """A graph that computes the same with operators that LiteRT has.

    Tables are read by this call, and must not change afterwards.

    Args:
      graph_def: with calls of functions inlined; what functions of loops and branches hold stays.
      handles: by name of a placeholder, the eager tensor that it stands for; only those of tables are used.

    Returns:
      A graph with the same names of tensors, in which inputs of replaced nodes may be unused; `graph_def` itself
      where there is nothing to write.

    Example:
      >>> any(node.op == 'DenseBincount' for node in rewritten(graph_def, {}).node)
      False
    """
    if not any(node.op in REWRITTEN for node in graph_def.node):
        return graph_def
    return _Rewriting(graph_def, handles).run()


class _Rewriting:
    def __init__(self, graph_def: graph_pb2.GraphDef, handles: Mapping[str, Any]) -> None:
        self._graph_def = graph_def
        self._handles = handles
        self._nodes = {node.name: node for node in graph_def.node}
        self._sizes = CountSizes(self._nodes)
        self._taken = set(self._nodes)

    def run(self) -> graph_pb2.GraphDef:
        result = graph_pb2.GraphDef(versions=self._graph_def.versions, library=self._graph_def.library)
        written = []
        for node in self._graph_def.node:
            if node.op in REWRITTEN and self._is_written(node, AddedNodes(result, node, self._taken)):
                written.append(node)
            else:
                result.node.add().CopyFrom(node)
        if written:
            is_count = any(node.op == COUNT for node in written)
            _LOG.info(
                'written in operators that LiteRT has%s: %s',
                ' (negative integers, which TensorFlow refuses, are dropped)' if is_count else '',
                ', '.join(f'{node.op} {node.name!r}' for node in written),
            )
        return result

    def _is_written(self, node: node_def_pb2.NodeDef, added: AddedNodes) -> bool:
        if node.op == COUNT:
            fault = (
                '' if write_count(node, self._sizes, added) else 'how many it counts depends on the inputs'
            )
        else:
            fault = self._fault_of_lookup(node, added)
        if fault:
            _LOG.info('%s %r stays: %s', node.op, node.name, fault)
        return not fault

    def _fault_of_lookup(self, node: node_def_pb2.NodeDef, added: AddedNodes) -> str:
        """Rewrites a lookup; returns why that cannot be done, or ''."""
        handle = self._handles.get(self._source(node.input[0]))
        kinds = [node.attr[key].type for key in ('Tin', 'Tout')]
        if handle is None or not {*kinds} <= {*INTEGERS}:
            names = ' to '.join(tf.dtypes.as_dtype(kind).name for kind in kinds)
            return f'its table ({names}) is not one of integers to integers that comes with the model'
        table = _content(handle, *kinds)
        if not write_lookup(node, table, added):
            return f'its table has {len(table.keys)} keys, and is written with 1 to {MOST_KEYS}'
        return ''

    def _source(self, tensor: str) -> str:
        """The node that a handle comes from."""
        name = tensor.removesuffix(':0')
        while name in self._nodes and self._nodes[name].op == 'Identity':
            name = self._nodes[name].input[0].removesuffix(':0')
        return name


def _content(handle: Any, key_kind: int, value_kind: int) -> LookupTable:
    keys, values = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_kind, Tvalues=value_kind)
    return LookupTable(keys.numpy(), values.numpy())
