"""The gradient of a kernel's input where only the range of a quantized input of the model takes it.

An input of the model does not depend on a variable. Its range alone takes a gradient: the sum over the values outside
of it. So a convolution or product behind it computes the gradient of the rows of a batch that hold such a value, which
are few or none, and not of all: that would cost as much as the operation itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from tfx_edge.components.core.tensor_names import producer

_GRADIENT = 'TfxEdgeClippedRows'
_ATTRIBUTE = '_gradient_op_type'
_KERNELS = ('Conv2D', 'DepthwiseConv2dNative', 'Conv3D', 'MatMul')
# They keep the elements and their order.
_SAME_ELEMENTS = ('Reshape', 'ExpandDims', 'Squeeze', 'Identity')
_QUANTIZATION = 'FakeQuantWithMinMaxVars'


def limit_to_clipped_rows(graph_def: graph_pb2.GraphDef, inputs: Collection[str]) -> int:
    """Gives the kernels that use a quantized input of the model directly, or reshaped, the gradient of this module.

    Args:
      graph_def: with `FakeQuantWithMinMaxVars`; changed in place.
      inputs: names of the placeholders of the model's inputs.

    Returns:
      The number of kernels.
    """
    nodes = {node.name: node for node in graph_def.node}
    found = 0
    for node in graph_def.node:
        has_rows = node.op in _KERNELS and not (node.op == 'MatMul' and node.attr['transpose_a'].b)
        if has_rows and _is_quantized_input(nodes, node, inputs):
            node.attr[_ATTRIBUTE].s = _GRADIENT.encode()
            found += 1
    return found


def _is_quantized_input(
    nodes: Mapping[str, node_def_pb2.NodeDef], node: node_def_pb2.NodeDef, inputs: Collection[str]
) -> bool:
    quantizations = 0
    while node.input:
        node = nodes[producer(node.input[0])]
        quantizations += node.op == _QUANTIZATION
        if node.op not in (*_SAME_ELEMENTS, _QUANTIZATION):
            break
    return quantizations == 1 and node.name in inputs


@tf.RegisterGradient(_GRADIENT)
def _gradient(operation: tf.Operation, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    values, kernel = operation.inputs
    (of_kernel,) = tf.gradients(_again(operation, values, kernel), kernel, upstream)
    rows = tf.where(_holds_clipped(values))
    some = tf.gather_nd(values, rows)
    (of_some,) = tf.gradients(_again(operation, some, kernel), some, tf.gather_nd(upstream, rows))
    return tf.scatter_nd(rows, of_some, tf.shape(values, tf.int64)), of_kernel


def _holds_clipped(values: tf.Tensor) -> tf.Tensor:
    """For each row, whether the quantization that it comes from clipped a value in it."""
    quantization = values.op
    while quantization.type != _QUANTIZATION:
        quantization = quantization.inputs[0].op
    given, low, high = quantization.inputs
    # The operation's own gradient is 1 within the range and 0 outside.
    within, _, _ = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
        gradients=tf.ones_like(given),
        inputs=given,
        min=low,
        max=high,
        num_bits=quantization.get_attr('num_bits'),
        narrow_range=quantization.get_attr('narrow_range'),
    )
    smallest = tf.reduce_min(tf.reshape(within, tf.shape(values)), axis=range(1, values.shape.rank))
    return smallest < 1.0


def _again(operation: tf.Operation, values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The operation on other operands, with the gradient that TensorFlow has for it."""
    graph_def = graph_pb2.GraphDef()
    for name in ('values', 'kernel'):
        graph_def.node.add(op='Placeholder', name=name).attr['dtype'].type = values.dtype.as_datatype_enum
    node = graph_def.node.add()
    node.CopyFrom(operation.node_def)
    node.name = 'again'
    node.input[:] = ['values', 'kernel']
    for attribute in (_ATTRIBUTE, '_class', '_output_shapes'):
        node.attr.pop(attribute, None)
    operands = {'values:0': values, 'kernel:0': kernel}
    (result,) = tf.graph_util.import_graph_def(graph_def, operands, ['again:0'])
    return result
