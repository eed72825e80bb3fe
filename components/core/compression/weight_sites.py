"""Where a graph multiplies by weights: operation, output channels, and the scale folded in behind it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from tfx_edge.components.core.compression.serving_graph import GraphVariable, ServingGraph
from tfx_edge.components.core.errors import EdgeError

# Operation -> axes of its output channels in the weight, counted from the end (a Conv1D's kernel is
# expanded in front), and the input that holds the weight.
_CHANNEL_AXES: dict[str, tuple[int, ...]] = {
    'Conv2D': (-1,),
    'Conv3D': (-1,),
    'DepthwiseConv2dNative': (-2, -1),
    'Conv2DBackpropInput': (-2,),
    'MatMul': (-1,),
}
_WEIGHT_INPUT = 1
# Operations behind which LiteRT's converter folds a per-channel factor into the weight.
FOLDING_OPS = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul')
_SHAPE_ONLY = ('Identity', 'ExpandDims')
_BATCH_NORMS = ('FusedBatchNormV3', 'FusedBatchNormV2', 'FusedBatchNorm')


@dataclasses.dataclass(frozen=True)
class FoldedScale:
    """A per-channel factor behind a weight: `scale`, or scale / sqrt(variance + epsilon) of a batch norm."""

    scale: str
    variance: str = ''
    epsilon: float = 0.0


@dataclasses.dataclass(frozen=True)
class WeightSite:
    """One weight that a kernel multiplies by.

    Attributes:
      variable: the variable that holds the weight.
      op: TensorFlow's name of the operation.
      node: the operation's node.
      channel_axes: axes of the variable that count output channels; () where none is known.
      scales: what the converter folds into the weight, in order.
    """

    variable: GraphVariable
    op: str
    node: str
    channel_axes: tuple[int, ...]
    scales: tuple[FoldedScale, ...]


def find_weight_sites(graph: ServingGraph) -> tuple[WeightSite, ...]:
    """The weights of convolutions and matrix products of a graph, in order of their variables.

    A variable that several operations share is one site: the first operation's, without folding when
    the others fold differently. Weights that reach their operation by anything but identities and added
    dimensions are left out.

    Example:
      >>> [(site.variable.name, site.op) for site in find_weight_sites(graph)]
      [('conv2d/kernel', 'Conv2D'), ('dense/kernel', 'MatMul')]
    """
    nodes = {node.name: node for node in graph.graph_def.node}
    consumers = _consumers(graph.graph_def)
    dynamic = dynamic_nodes(graph)
    by_read = {read.split(':')[0]: v for v in graph.variables if v.trainable for read in v.reads}
    sites: dict[str, WeightSite] = {}
    for node in graph.graph_def.node:
        if node.op not in _CHANNEL_AXES or node.name not in dynamic:
            continue
        variable = by_read.get(_through_shape_only(nodes, node.input[_WEIGHT_INPUT]))
        if variable is None:
            continue
        scales = _folded_scales(nodes, consumers, dynamic, node) if node.op in FOLDING_OPS else ()
        site = WeightSite(variable, node.op, node.name, _channel_axes(node, variable), scales)
        first = sites.setdefault(variable.key, site)
        if (first.scales, first.channel_axes) != (site.scales, site.channel_axes):
            sites[variable.key] = dataclasses.replace(first, scales=())
    return tuple(sites[v.key] for v in graph.variables if v.key in sites)


def dynamic_nodes(graph: ServingGraph) -> set[str]:
    """Names of the nodes that depend on an input, the inputs included; all others are constant."""
    consumers = _consumers(graph.graph_def)
    reached = {_producer(name) for name in graph.inputs.values()}
    pending = list(reached)
    while pending:
        for name in consumers[pending.pop()]:
            if name not in reached:
                reached.add(name)
                pending.append(name)
    return reached


def select_weight_sites(
    sites: Sequence[WeightSite], include: Sequence[str], exclude: Sequence[str], purpose: str
) -> tuple[WeightSite, ...]:
    """The sites whose variable name matches an `include` (any, when there is none) and no `exclude`.

    Raises:
      EdgeError: nothing is selected; the message names what there was.
    """
    selected = tuple(
        site
        for site in sites
        if (not include or any(re.search(pattern, site.variable.name) for pattern in include))
        and not any(re.search(pattern, site.variable.name) for pattern in exclude)
    )
    if selected:
        return selected
    if not sites:
        raise EdgeError(
            f'the model has no weight to {purpose}: no trainable kernel of a convolution or matrix product '
            'was found. Export the model with its variables (not frozen to constants).'
        )
    found = ', '.join(site.variable.name for site in sites)
    raise EdgeError(
        f'include and exclude leave no weight to {purpose} (found: {found}); correct the patterns.'
    )


def channel_scale(graph: ServingGraph, site: WeightSite, values: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
    """The factor that folding multiplies a site's weight by; to be called inside a `tf.function`.

    Args:
      graph: of the site.
      site: one of its weight sites.
      values: of the graph's variables, by key.

    Returns:
      A tensor that broadcasts against the weight, or None where nothing is folded.
    """
    factor = None
    for folded in site.scales:
        if folded.variance:
            scale, variance = graph.call({}, values, [folded.scale, folded.variance])
            scale = scale * tf.math.rsqrt(variance + folded.epsilon)
        else:
            (scale,) = graph.call({}, values, [folded.scale])
        scale = tf.reshape(scale, channel_shape(site))
        factor = scale if factor is None else factor * scale
    return factor


def channel_shape(site: WeightSite) -> list[int]:
    """The weight's shape with 1 for each axis that does not count output channels."""
    shape = site.variable.value.shape
    return [size if axis in site.channel_axes else 1 for axis, size in enumerate(shape)]


def _channel_axes(node: node_def_pb2.NodeDef, variable: GraphVariable) -> tuple[int, ...]:
    axes = _CHANNEL_AXES[node.op]
    if node.op == 'MatMul' and node.attr['transpose_b'].b:
        axes = (-2,)
    rank = variable.value.ndim
    return tuple(rank + axis for axis in axes)


def _folded_scales(
    nodes: Mapping[str, node_def_pb2.NodeDef],
    consumers: Mapping[str, Sequence[str]],
    dynamic: set[str],
    node: node_def_pb2.NodeDef,
) -> tuple[FoldedScale, ...]:
    """Follows the only consumer while it adds or multiplies by something constant per channel."""
    scales: list[FoldedScale] = []
    while len(consumers[node.name]) == 1:
        following = nodes.get(consumers[node.name][0])
        if following is None:
            break
        if following.op in _BATCH_NORMS and not following.attr['is_training'].b:
            epsilon = float(following.attr['epsilon'].f)
            scales.append(FoldedScale(_tensor(following.input[1]), _tensor(following.input[4]), epsilon))
        elif following.op in ('BiasAdd', 'Add', 'AddV2', 'Sub', 'Mul'):
            others = [name for name in following.input if _producer(name) != node.name]
            if len(others) != 1 or _producer(others[0]) in dynamic:
                break
            if following.op == 'Sub' and _producer(following.input[0]) != node.name:
                break
            if following.op == 'Mul':
                scales.append(FoldedScale(_tensor(others[0])))
        elif following.op not in ('Identity', 'Squeeze'):
            break
        node = following
    return tuple(scales)


def _through_shape_only(nodes: Mapping[str, node_def_pb2.NodeDef], tensor: str) -> str:
    node = nodes[_producer(tensor)]
    while node.op in _SHAPE_ONLY:
        if node.op == 'ExpandDims' and not _expands_in_front(nodes, node):
            return ''
        node = nodes[_producer(node.input[0])]
    return node.name


def _expands_in_front(nodes: Mapping[str, node_def_pb2.NodeDef], node: node_def_pb2.NodeDef) -> bool:
    axis = nodes[_producer(node.input[1])]
    return axis.op == 'Const' and int(tf.make_ndarray(axis.attr['value'].tensor)) == 0


def _consumers(graph_def: graph_pb2.GraphDef) -> dict[str, list[str]]:
    consumers: dict[str, list[str]] = {node.name: [] for node in graph_def.node}
    for node in graph_def.node:
        for name in node.input:
            if not name.startswith('^'):
                consumers[_producer(name)].append(node.name)
    return consumers


def _producer(tensor: str) -> str:
    return tensor.lstrip('^').split(':')[0]


def _tensor(name: str) -> str:
    return name if ':' in name else f'{name}:0'
