"""The operations that use a weight, and the axes along which LiteRT deploys it.

The axes were read off files that `core.litert` quantized: kernels of convolutions and of fully connected layers have
one scale for each output channel, tables of GATHER have one scale, three-dimensional convolutions stay float.
"""

from __future__ import annotations

import dataclasses

from tensorflow.core.framework import node_def_pb2


@dataclasses.dataclass(frozen=True)
class WeightOperand:
    """An input of an operation that may hold a weight; axes are counted from its end.

    Attributes:
      position: of the input.
      channel_axes: axes along which the deployed kernel has its scales; () where it has one scale, or is float.
      sum_axes: axis that the deployed kernel sums over innermost; () where there is none.
      folds: whether the converter folds a per-channel factor behind the operation into the weight.
      fully_connected: whether a weight here becomes the kernel of a FULLY_CONNECTED.
    """

    position: int
    channel_axes: tuple[int, ...] = ()
    sum_axes: tuple[int, ...] = ()
    folds: bool = False
    fully_connected: bool = False


# A depthwise convolution has one input channel for each output; a Conv1D's kernel is expanded in front.
_FIXED: dict[str, WeightOperand] = {
    'Conv2D': WeightOperand(1, (-1,), (-2,), folds=True),
    'DepthwiseConv2dNative': WeightOperand(1, (-2, -1), (), folds=True),
    'Conv2DBackpropInput': WeightOperand(1, (-2,), (-1,), folds=True),
    'Conv3D': WeightOperand(1, (), (-2,)),
    'Conv3DBackpropInputV2': WeightOperand(1, (), (-1,)),
    'GatherV2': WeightOperand(0),
}
BATCHED_PRODUCTS = ('BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3')
OPERATIONS = (*_FIXED, *BATCHED_PRODUCTS, 'MatMul', 'Einsum')


def weight_operands(node: node_def_pb2.NodeDef) -> tuple[WeightOperand, ...]:
    """The inputs of one of the OPERATIONS that may hold its weight.

    Example:
      >>> weight_operands(conv2d)[0].channel_axes
      (-1,)
    """
    if node.op in _FIXED:
        return (_FIXED[node.op],)
    if node.op == 'Einsum':
        return _einsum(node.attr['equation'].s.decode())
    transposed = [
        node.attr[key].b
        for key in (('adj_x', 'adj_y') if node.op in BATCHED_PRODUCTS else ('transpose_a', 'transpose_b'))
    ]
    right = WeightOperand(1, (-1,), (-2,), folds=True, fully_connected=True)
    if transposed[1]:
        right = dataclasses.replace(right, channel_axes=(-2,), sum_axes=(-1,))
    return (_left(node, transposed[0]), right)


def _left(node: node_def_pb2.NodeDef, transposed: bool) -> WeightOperand:
    """The first factor: MatMul has its scales along its rows, BATCH_MATMUL along the last axis of either factor."""
    if transposed:
        return WeightOperand(0, (), (-2,))
    if node.op in BATCHED_PRODUCTS:
        return WeightOperand(0, (-1,), (-1,))
    return WeightOperand(0, (-2,), (-1,), fully_connected=True)


def _einsum(equation: str) -> tuple[WeightOperand, ...]:
    """A weight on the right becomes a FULLY_CONNECTED kernel, one on the left a BATCH_MATMUL operand.

    BATCH_MATMUL has the scales of that operand along the axes that are summed over.

    On the left, TensorFlow 2.21's converter may fold a factor that follows, which is not accounted for: the file then
    has more integers than the codebook.
    """
    if '...' in equation or equation.count(',') != 1:
        return ()
    inputs, output = equation.replace(' ', '').split('->')
    operands = []
    for position, labels in enumerate(inputs.split(',')):
        other = inputs.split(',')[1 - position]
        free = tuple(
            i - len(labels) for i, label in enumerate(labels) if label not in other and label in output
        )
        sums = tuple(
            i - len(labels) for i, label in enumerate(labels) if label in other and label not in output
        )
        # One axis of output channels, which comes last: only a reshape stands between the product and what follows.
        is_dense = position == 1 and bool(free) and len(free) + len(sums) == len(labels)
        folds = is_dense and len(free) == 1 and output.endswith(labels[free[0]])
        operands.append(WeightOperand(position, free if position else sums, sums[-1:], folds, is_dense))
    return tuple(operands)
