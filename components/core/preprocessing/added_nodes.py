"""Adds the nodes that replace one node of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2


class AddedNodes:
    """Adds nodes to a graph, named after the node that they replace.

    Args:
      graph_def: what they are added to.
      replaced: the node that they replace, no longer in the graph; the last of them takes its name.
      taken: names of nodes that are in use.

    Example:
      >>> added = AddedNodes(graph_def, node, taken)
      >>> added.last('AddV2', [node.input[0], added.constant('one', np.float32(1))], T=types_pb2.DT_FLOAT)
    """

    def __init__(
        self, graph_def: graph_pb2.GraphDef, replaced: node_def_pb2.NodeDef, taken: set[str]
    ) -> None:
        self._graph_def = graph_def
        self._name = replaced.name
        self._device = replaced.device
        self._waits = [name for name in replaced.input if name.startswith('^')]
        self._taken = taken

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Adds a constant; returns its name."""
        node = self._node('Const', self._free(name), [])
        node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr['dtype'].type = node.attr['value'].tensor.dtype
        return node.name

    def add(self, op: str, name: str, inputs: Sequence[str], **types: int) -> str:
        """Adds an operation with attributes that are types; returns its name."""
        node = self._node(op, self._free(name), inputs)
        for attribute, kind in types.items():
            node.attr[attribute].type = kind
        return node.name

    def last(self, op: str, inputs: Sequence[str], **types: int) -> None:
        """Adds the operation that takes the replaced node's name and control inputs."""
        node = self._node(op, self._name, [*inputs, *self._waits])
        for attribute, kind in types.items():
            node.attr[attribute].type = kind

    def _free(self, name: str) -> str:
        found = f'{self._name}/{name}'
        while found in self._taken:
            found += '_'
        self._taken.add(found)
        return found

    def _node(self, op: str, name: str, inputs: Sequence[str]) -> node_def_pb2.NodeDef:
        return self._graph_def.node.add(op=op, name=name, input=inputs, device=self._device)
