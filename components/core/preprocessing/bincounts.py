"""Counting how often each integer occurs (DenseBincount), written as one-hot vectors that are added up.

Keras' layers CategoryEncoding, Discretization, IntegerLookup and Hashing count in this way where their output is
multi-hot or counts (in Keras 2 also where it is one-hot).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2, types_pb2

from tfx_edge.components.core.loops.constant_values import ConstantValues
from tfx_edge.components.core.preprocessing.added_nodes import AddedNodes

_EVERYTHING = (-math.inf, math.inf)
# The one axis between the batch, if there is one, and the counts.
_COUNTED_AXIS = -2


class CountSizes:
    """How many different integers the counting operations of a graph count.

    Args:
      nodes: of the graph, by name.

    Example:
      >>> CountSizes(nodes)[nodes['category_encoding/bincount/DenseBincount']]
      32
    """

    def __init__(self, nodes: Mapping[str, node_def_pb2.NodeDef]) -> None:
        self._nodes = nodes
        self._constants = ConstantValues(nodes.values())

    def __getitem__(self, node: node_def_pb2.NodeDef) -> int | None:
        """The number of counts; None where it depends on the integers."""
        low, high = self._bounds(node.input[1])
        return int(low) if low == high else None

    def is_empty(self, tensor: str) -> bool:
        """Whether a tensor is a constant without elements, as weights are that are not given."""
        value = self._constants[tensor]
        return value is not None and not value.size

    def _bounds(self, tensor: str) -> tuple[float, float]:
        """The bounds of a scalar; Keras clamps the number of counts between two equal numbers."""
        value = self._constants[tensor]
        if value is not None:
            return (float(value), float(value)) if not value.ndim else _EVERYTHING
        node = self._nodes.get(tensor.removesuffix(':0'))
        if node is None or node.op not in ('Minimum', 'Maximum', 'Identity'):
            return _EVERYTHING
        both = [self._bounds(name) for name in node.input if not name.startswith('^')]
        chosen = min if node.op == 'Minimum' else max
        lows, highs = zip(*both, strict=True)
        return chosen(lows), chosen(highs)


def write_count(node: node_def_pb2.NodeDef, sizes: CountSizes, added: AddedNodes) -> bool:
    """Adds what computes the same as a counting operation.

    Integers of the number of counts and above are dropped, as TensorFlow does. So are negative ones, which
    TensorFlow refuses when it runs.

    Args:
      node: a DenseBincount: integers of shape (n,) or (batch, n), the number of counts, weights of the same shape or
        none.
      sizes: of its graph.
      added: takes the nodes.

    Returns:
      False, and nothing is added, where the number of counts depends on the integers.
    """
    size = sizes[node]
    if size is None:
        return False
    integers, _, weights = (name for name in node.input if not name.startswith('^'))
    kind = node.attr['T'].type
    numpy_type = tf.dtypes.as_dtype(kind).as_numpy_dtype
    depth = added.constant('depth', np.int32(size))
    on_off = [added.constant(name, numpy_type(value)) for name, value in (('on', 1), ('off', 0))]
    found = added.add('OneHot', 'one_hot', [integers, depth, *on_off], T=kind, TI=node.attr['Tidx'].type)
    is_binary = node.attr['binary_output'].b
    if not is_binary and not sizes.is_empty(weights):
        axis = added.constant('weight_axis', np.int32(-1))
        column = added.add('ExpandDims', 'weights', [weights, axis], T=kind, Tdim=types_pb2.DT_INT32)
        found = added.add('Mul', 'weighted', [found, column], T=kind)
    axis = added.constant('axis', np.int32(_COUNTED_AXIS))
    added.last('Max' if is_binary else 'Sum', [found, axis], T=kind, Tidx=types_pb2.DT_INT32)
    return True
