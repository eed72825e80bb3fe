"""What the weights of a layer read, as second moments: how far the layer's output moves when its weights change."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, weight_uses
from tfx_edge.components.core.tensor_names import producer

# The fewer inputs an output reads, the more each one counts; beyond this the sums would cost more than training.
_MOST_INPUTS = 640
# Rows of a batch that are looked at: so many for each input, and no fewer than that; drawn of so many times the number.
_ROWS_PER_INPUT, _FEWEST_ROWS, _DRAWN_OF = 4, 2048, 16
# Of the mean of the diagonal, added to it: directions in which no example lies stay as they are.
_DAMPING = 1e-3


@dataclasses.dataclass(frozen=True)
class InputMoments:
    """Second moments of what the outputs of a layer read.

    Attributes:
      moments: float64 of shape (groups, inputs, inputs): the mean of x x^T over examples and positions. A depthwise
        convolution has a group for each channel, any other layer one.
    """

    moments: np.ndarray

    def matrices(self, weight: np.ndarray) -> np.ndarray:
        """A weight as matrices of shape (groups, inputs, outputs)."""
        groups, inputs, _ = self.moments.shape
        if groups == 1:
            return weight.reshape(1, inputs, -1)
        return weight.reshape(inputs, groups, -1).transpose(1, 0, 2)

    def weight(self, matrices: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """What `matrices` was made of."""
        groups = len(matrices)
        return (matrices if groups == 1 else matrices.transpose(1, 0, 2)).reshape(shape)


def input_moments(
    graph: ServingGraph, sites: Sequence[WeightSite], batches: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, InputMoments]:
    """Measures what weights read, in the incoming model.

    Args:
      graph: the signature.
      sites: of the weights.
      batches: arrays of shape (batch, ...) by input name.

    Returns:
      By key of the variable, those of convolutions and matrix products on the right whose kernel the graph uses as it
      is stored, and whose outputs read at most 640 values; others are missing.

    Example:
      ```
      input_moments(graph, sites, batches)['layers/0/kernel'].moments.shape
      # (1, 9, 9) of a convolution of 3 by 3 over one channel
      ```
    """
    readers = _readers(graph, sites)
    shapes = {site.variable.key: site.variable.value.shape for site in sites}

    @tf.function(autograph=False)
    def of_batch(batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        inputs = {name: batch[name] for name in graph.inputs}
        tensors = graph.call(inputs, {}, [_input_tensor(node) for node in readers.values()])
        pairs = zip(readers.items(), tensors, strict=True)
        return [_moments(_rows(node, shapes[key], read)) for (key, node), read in pairs]

    sums: list[np.ndarray] = []
    number = 0
    for batch in batches if readers else ():
        found = of_batch({name: tf.constant(batch[name]) for name in graph.inputs})
        of_this = [moments.numpy().astype(np.float64) for moments in found]
        sums = [total + moments for total, moments in zip(sums, of_this, strict=True)] if number else of_this
        number += 1
    return {key: InputMoments(_damped(total / number)) for key, total in zip(readers, sums, strict=False)}


def _readers(graph: ServingGraph, sites: Sequence[WeightSite]) -> dict[str, node_def_pb2.NodeDef]:
    """The operations that use the weights, of those that can be measured."""
    nodes = {node.name: node for node in graph.graph_def.node}
    operations = collections.Counter(site.variable.key for _, _, site in weight_uses(graph))
    plain = [site for site in sites if operations[site.variable.key] == 1 and _is_plain(site, nodes)]
    fetch = [_input_tensor(nodes[site.node]) for site in plain]
    specs = {name: graph.signature.inputs[name] for name in graph.inputs}
    inputs = {name: tf.TensorSpec(spec.shape, spec.dtype) for name, spec in specs.items()}
    traced = tf.function(lambda given: graph.call(given, {}, fetch), autograph=False).get_concrete_function(
        inputs
    )
    shapes = [tensor.shape for tensor in traced.outputs]
    # A grouped convolution reads more channels than each of its outputs does.
    axis = {'Conv2D': 2, 'DepthwiseConv2dNative': 2, 'MatMul': 0}
    return {
        site.variable.key: nodes[site.node]
        for site, shape in zip(plain, shapes, strict=True)
        if shape.rank and shape[-1] == site.variable.value.shape[axis[site.op]]
    }


def _is_plain(site: WeightSite, nodes: Mapping[str, node_def_pb2.NodeDef]) -> bool:
    """Whether a weight is an operation's kernel, as it is stored, of few enough inputs."""
    node, shape = nodes.get(site.node), site.variable.value.shape
    if node is None or producer(node.input[1]) not in map(producer, site.variable.reads):
        return False
    if node.op == 'MatMul':
        return not (node.attr['transpose_a'].b or node.attr['transpose_b'].b) and shape[0] <= _MOST_INPUTS
    if node.op not in ('Conv2D', 'DepthwiseConv2dNative') or node.attr['data_format'].s != b'NHWC':
        return False
    inputs = int(np.prod(shape[:-1] if node.op == 'Conv2D' else shape[:2]))
    return node.attr['padding'].s in (b'SAME', b'VALID') and inputs <= _MOST_INPUTS


def _input_tensor(node: node_def_pb2.NodeDef) -> str:
    name = node.input[0]
    return name if ':' in name else f'{name}:0'


def _rows(node: node_def_pb2.NodeDef, shape: Sequence[int], read: tf.Tensor) -> tf.Tensor:
    """What each output reads at each place, of shape (groups, rows, inputs)."""
    if node.op == 'MatMul':
        return read[tf.newaxis]
    height, width, channels = shape[:3]
    places = tf.reduce_prod(tf.shape(read)[1:3])
    # Patches of all examples of a batch may not fit into memory.
    read = read[: tf.maximum(1, _DRAWN_OF * _wanted(height * width * channels) // places)]
    dilations = list(node.attr['dilations'].list.i) or [1, 1, 1, 1]
    patches = tf.image.extract_patches(
        read,
        [1, height, width, 1],
        list(node.attr['strides'].list.i),
        dilations,
        node.attr['padding'].s.decode(),
    )
    if node.op == 'Conv2D':
        return tf.reshape(patches, [1, -1, height * width * channels])
    return tf.transpose(tf.reshape(patches, [-1, height * width, channels]), [2, 0, 1])


def _moments(rows: tf.Tensor) -> tf.Tensor:
    """The mean of x x^T over rows; where there are many, over some that are drawn."""
    wanted = _wanted(rows.shape[-1])
    count = tf.shape(rows)[1]
    # Drawn: every so manieth row would be that of one column of a picture.
    drawn = tf.random.stateless_uniform([wanted], [0, 0], 0, count, tf.int32)
    chosen = tf.cond(count > wanted, lambda: drawn, lambda: tf.range(count))
    rows = tf.cast(tf.gather(rows, chosen, axis=1), tf.float32)
    # What a model handles itself, such as a missing value, tells nothing here.
    rows = tf.where(tf.reduce_all(tf.math.is_finite(rows), -1, keepdims=True), rows, 0.0)
    return tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.shape(rows)[1], tf.float32)


def _wanted(inputs: int) -> int:
    return max(_ROWS_PER_INPUT * inputs, _FEWEST_ROWS)


def _damped(moments: np.ndarray) -> np.ndarray:
    inputs = moments.shape[-1]
    means = np.trace(moments, axis1=1, axis2=2) / inputs
    return moments + _DAMPING * means[:, np.newaxis, np.newaxis] * np.eye(inputs)
