"""Replaces the lists of tensors in which Keras keeps the steps of a sequence by slices and stacks.

LiteRT's converter takes only lists whose elements have a fixed shape, but here the batch is open. No list is needed
where every index is constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2

from tfx_edge.components.core.loops.constant_values import ConstantValues

# One tensor whose rows are the list's elements, or one tensor for each element (None: not set).
_Elements = str | list[str | None]


class UnknownListError(Exception):
    """A list is used in a way that is not known here."""


def without_lists(graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """A graph that reads from tensors what it read from lists.

    Args:
      graph_def: without loops around its lists.

    Returns:
      The graph; operations that make lists are left where nothing uses them.

    Raises:
      UnknownListError: an index is not constant, or an element is read that nothing set.
    """
    return _Rewriting(graph_def).run()


class _Rewriting:
    def __init__(self, graph_def: graph_pb2.GraphDef) -> None:
        self._graph_def = graph_def
        self._nodes = {node.name: node for node in graph_def.node}
        self._constants = ConstantValues(graph_def.node)
        self._elements: dict[str, _Elements] = {}
        self._result = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)

    def run(self) -> graph_pb2.GraphDef:
        for node in self._graph_def.node:
            copy = self._result.node.add()
            copy.CopyFrom(node)
            if node.op == 'TensorListGetItem':
                self._read(copy, self._list(node.input[0]), self._index(node.input[1]))
            elif node.op == 'TensorListStack':
                self._stack(copy, self._list(node.input[0]))
        return self._result

    def _list(self, tensor: str) -> _Elements:
        name = tensor.split(':')[0]
        if name not in self._elements:
            self._elements[name] = self._read_list(self._nodes[name])
        return self._elements[name]

    def _read_list(self, node: node_def_pb2.NodeDef) -> _Elements:
        if node.op == 'Identity':
            return self._list(node.input[0])
        if node.op == 'TensorListFromTensor':
            return node.input[0]
        if node.op == 'TensorListReserve':
            return [None] * self._index(node.input[1])
        if node.op != 'TensorListSetItem':
            raise UnknownListError(f'{node.op} {node.name!r} makes a list')
        elements, index = self._list(node.input[0]), self._index(node.input[1])
        if isinstance(elements, str) or index >= len(elements):
            raise UnknownListError(f'{node.name!r} sets an element of a list that is not there')
        return [*elements[:index], node.input[2], *elements[index + 1 :]]

    def _index(self, tensor: str) -> int:
        value = self._constants[tensor]
        if value is None:
            raise UnknownListError(f'an index or a length is not constant ({tensor!r})')
        return int(value)

    def _read(self, node: node_def_pb2.NodeDef, elements: _Elements, index: int) -> None:
        dtype = node.attr['element_dtype'].type
        node.attr.clear()
        node.attr['T'].type = dtype
        if not isinstance(elements, str):
            node.op = 'Identity'
            node.input[:] = [_set(elements[index : index + 1], node)[0]]
            return
        node.op = 'StridedSlice'
        node.attr['Index'].type = types_pb2.DT_INT32
        node.attr['shrink_axis_mask'].i = 1
        bounds = [
            self._constant(f'{node.name}/{key}', value)
            for key, value in (('begin', index), ('end', index + 1), ('strides', 1))
        ]
        node.input[:] = [elements, *bounds]

    def _stack(self, node: node_def_pb2.NodeDef, elements: _Elements) -> None:
        dtype = node.attr['element_dtype'].type
        node.attr.clear()
        node.attr['T'].type = dtype
        if isinstance(elements, str):
            node.op = 'Identity'
            node.input[:] = [elements]
            return
        node.op = 'Pack'
        node.attr['N'].i = len(elements)
        node.input[:] = _set(elements, node)

    def _constant(self, name: str, value: int) -> str:
        node = self._result.node.add(op='Const', name=name)
        node.attr['dtype'].type = types_pb2.DT_INT32
        node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(np.array([value], np.int32)))
        return name


def _set(elements: Sequence[str | None], node: node_def_pb2.NodeDef) -> list[str]:
    found = [element for element in elements if element is not None]
    if not elements or len(found) < len(elements):
        raise UnknownListError(f'{node.name!r} reads an element that nothing set')
    return found
