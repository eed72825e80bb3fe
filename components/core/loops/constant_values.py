"""Computes the tensors of a graph that depend only on constants, such as the counters and bounds of loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

_Rule = Callable[..., np.ndarray]
_RULES: Mapping[str, _Rule] = {
    'Identity': lambda x: x,
    'Add': np.add,
    'AddV2': np.add,
    'Sub': np.subtract,
    'Mul': np.multiply,
    'Maximum': np.maximum,
    'Minimum': np.minimum,
    'Less': np.less,
    'LessEqual': np.less_equal,
    'Greater': np.greater,
    'GreaterEqual': np.greater_equal,
    'Equal': np.equal,
    'NotEqual': np.not_equal,
    'LogicalAnd': np.logical_and,
    'LogicalOr': np.logical_or,
    'LogicalNot': np.logical_not,
    'Range': lambda start, limit, delta: np.arange(start, limit, delta).astype(start.dtype),
    'Max': lambda x, axes: np.max(x, tuple(np.ravel(axes))),
    'Min': lambda x, axes: np.min(x, tuple(np.ravel(axes))),
}


class ConstantValues:
    """Values of tensors, as far as they follow from constants.

    Args:
      nodes: of a graph.
      given: values that are known already, by node name.

    Example:
      >>> ConstantValues(graph_def.node)['while/maximum_iterations:0']
      array(10, dtype=int32)
    """

    def __init__(
        self, nodes: Iterable[node_def_pb2.NodeDef], given: Mapping[str, np.ndarray | None] | None = None
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._values: dict[str, np.ndarray | None] = dict(given or {})

    def __getitem__(self, tensor: str) -> np.ndarray | None:
        """The value of a tensor; None where it depends on a non-constant, or on an operation not in _RULES."""
        name, _, index = tensor.partition(':')
        if index not in ('', '0'):
            return None
        if name not in self._values:
            self._values[name] = self._evaluated(self._nodes.get(name))
        return self._values[name]

    def _evaluated(self, node: node_def_pb2.NodeDef | None) -> np.ndarray | None:
        if node is None:
            return None
        if node.op == 'Const':
            return tf.make_ndarray(node.attr['value'].tensor)
        if node.op not in _RULES:
            return None
        inputs = [self[name] for name in node.input if not name.startswith('^')]
        if any(value is None for value in inputs):
            return None
        return np.asarray(_RULES[node.op](*inputs))
