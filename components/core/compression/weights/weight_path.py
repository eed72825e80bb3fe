"""The path from a variable to an operation through reshaping only, and where each of its axes ends up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.graph_scopes import Scope
from tfx_edge.components.core.tensor_names import producer

# A part of one of the variable's axes: (axis, which part, of how many).
_Part = tuple[int, int, int]
# Input that holds the value, for the operations where that is not the first.
_VALUE_INPUT = {'Split': 1}
_UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class OperandAxis:
    """One axis of an operand: its size, the axes of the variable it is made of, and whether some of it is left out."""

    size: int
    parts: frozenset[_Part]
    is_cut: bool = False


@dataclasses.dataclass(frozen=True)
class WeightPath:
    """The way from a variable to an operand.

    Attributes:
      read: the tensor of the graph that holds the variable's value.
      steps: the operations on the way, with the scope of each, from the variable on.
    """

    read: str
    steps: tuple[tuple[Scope, node_def_pb2.NodeDef], ...]

    @property
    def transposes(self) -> bool:
        """Whether axes change their order on the way."""
        return any(node.op == 'Transpose' for _, node in self.steps)


def trace_back(scope: Scope, tensor: str) -> WeightPath | None:
    """Follows an operand back to the read of a variable, out of loops and branches too.

    Args:
      scope: of the operation.
      tensor: the operand.

    Returns:
      The path; None where anything but reshaping, transposing, slicing and casting lies on it.
    """
    steps: list[tuple[Scope, node_def_pb2.NodeDef]] = []
    while True:
        name = producer(tensor)
        if name in scope.outer:
            scope, tensor = scope.outer[name]
            continue
        node = scope.nodes.get(name)
        if node is None:
            return None
        if node.op == 'ReadVariableOp':
            return None if scope.is_body else WeightPath(f'{name}:0', tuple(reversed(steps)))
        if node.op not in _STEPS:
            return None
        steps.append((scope, node))
        tensor = node.input[_VALUE_INPUT.get(node.op, 0)]


def operand_axes(path: WeightPath, shape: Sequence[int]) -> list[OperandAxis] | None:
    """The axes of the operand at the end of a path.

    Args:
      path: of `trace_back`.
      shape: of the variable.

    Returns:
      One entry for each axis; None where a step is not given by constants.
    """
    axes: list[OperandAxis] | None = [
        OperandAxis(size, frozenset({(i, 0, 1)})) for i, size in enumerate(shape)
    ]
    for scope, node in path.steps:
        if axes is not None:
            axes = _STEPS[node.op](axes, scope, node)
    return axes


def variable_axes(operand: Sequence[OperandAxis], axes: Sequence[int]) -> tuple[int, ...] | None:
    """The variable's axes that some axes of an operand are made of, in order.

    Args:
      operand: of `operand_axes`.
      axes: of the operand, counted from the end.

    Returns:
      The variable's axes; None where they are only in part among `axes`, or where another axis of the operand was cut
      (sums over it then differ from the variable's).
    """
    places = {axis % len(operand) for axis in axes}
    if any(axis.is_cut for place, axis in enumerate(operand) if place not in places):
        return None
    parts = {part for place in places for part in operand[place].parts}
    found = {axis for axis, _, _ in parts}
    whole = all((axis, i, count) in parts for axis, _, count in parts for i in range(count))
    return tuple(sorted(found)) if whole else None


_Step = Callable[[list[OperandAxis], Scope, node_def_pb2.NodeDef], 'list[OperandAxis] | None']


def _same(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    return axes


def _expanded(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    axis = _constant(scope, node.input[1])
    if axis is None:
        return None
    place = int(axis) % (len(axes) + 1)
    return [*axes[:place], OperandAxis(1, frozenset()), *axes[place:]]


def _squeezed(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    named = {int(axis) % len(axes) for axis in node.attr['squeeze_dims'].list.i}
    return [axis for i, axis in enumerate(axes) if not (i in named if named else axis.size == 1)]


def _transposed(
    axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef
) -> list[OperandAxis] | None:
    order = _constant(scope, node.input[1])
    return None if order is None else [axes[int(i)] for i in order]


def _reshaped(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    """Matches runs of axes of equal size, from the front; an axis that is split becomes parts."""
    target = _constant(scope, node.input[1])
    if target is None or any(axis.size == _UNKNOWN for axis in axes):
        return None
    total = int(np.prod([axis.size for axis in axes], dtype=np.int64))
    known = int(np.prod([size for size in target if size >= 0], dtype=np.int64))
    sizes = [int(size) if size >= 0 else total // known for size in target]
    result: list[OperandAxis] = []
    old = new = 0
    while old < len(axes) or new < len(sizes):
        run, lengths = axes[old : old + 1], sizes[new : new + 1]
        before, after = (run[0].size if run else 1), (lengths[0] if lengths else 1)
        while before != after:
            if before < after:
                run.append(axes[old + len(run)])
                before *= run[-1].size
            else:
                lengths.append(sizes[new + len(lengths)])
                after *= lengths[-1]
        result += _merged_or_split(run, lengths)
        old, new = old + len(run), new + len(lengths)
    return result


def _merged_or_split(run: list[OperandAxis], sizes: list[int]) -> list[OperandAxis]:
    is_cut = any(axis.is_cut for axis in run)
    parts = frozenset(part for axis in run for part in axis.parts)
    large = [i for i, size in enumerate(sizes) if size != 1]
    if len(large) <= 1:
        whole = large[0] if large else len(sizes) - 1
        return [OperandAxis(s, parts if i == whole else frozenset(), is_cut) for i, s in enumerate(sizes)]
    count = len(large)
    return [
        OperandAxis(
            size,
            frozenset((axis, part * count + large.index(i), whole * count) for axis, part, whole in parts)
            if i in large
            else frozenset(),
            is_cut,
        )
        for i, size in enumerate(sizes)
    ]


def _strided(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    begin = _constant(scope, node.input[1])
    if begin is None or any(node.attr[k].i for k in ('ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask')):
        return None
    whole = node.attr['begin_mask'].i & node.attr['end_mask'].i
    return [_cut(a) if i < len(begin) and not whole >> i & 1 else a for i, a in enumerate(axes)]


def _sliced(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    begin, size = _constant(scope, node.input[1]), _constant(scope, node.input[2])
    if begin is None or size is None:
        return None
    whole = [b == 0 and s in (-1, a.size) for a, b, s in zip(axes, begin, size, strict=True)]
    return [axis if kept else _cut(axis) for axis, kept in zip(axes, whole, strict=True)]


def _split(axes: list[OperandAxis], scope: Scope, node: node_def_pb2.NodeDef) -> list[OperandAxis] | None:
    axis = _constant(scope, node.input[0 if node.op == 'Split' else 2])
    return (
        None if axis is None else [_cut(a) if i == int(axis) % len(axes) else a for i, a in enumerate(axes)]
    )


def _cut(axis: OperandAxis) -> OperandAxis:
    return OperandAxis(_UNKNOWN, axis.parts, is_cut=True)


def _constant(scope: Scope, tensor: str) -> np.ndarray | None:
    name = producer(tensor)
    while name in scope.outer or (name in scope.nodes and scope.nodes[name].op == 'Identity'):
        if name in scope.outer:
            scope, tensor = scope.outer[name]
        else:
            tensor = scope.nodes[name].input[0]
        name = producer(tensor)
    if name not in scope.nodes or scope.nodes[name].op != 'Const':
        return None
    return tf.make_ndarray(scope.nodes[name].attr['value'].tensor)


_STEPS: Mapping[str, _Step] = {
    'Identity': _same,
    'StopGradient': _same,
    'Cast': _same,
    'ExpandDims': _expanded,
    'Squeeze': _squeezed,
    'Transpose': _transposed,
    'Reshape': _reshaped,
    'StridedSlice': _strided,
    'Slice': _sliced,
    'Split': _split,
    'SplitV': _split,
}
# Operations that keep a weight's values.
RESHAPING = tuple(_STEPS)
