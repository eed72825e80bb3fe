"""Convolutions of the simulation with their batch norm folded into kernel and bias, as the deployed file has them.

A batch norm behind a convolution passes over all its results twice, and its gradient four times. Folded, the kernel is
multiplied instead, which is small, and one sum is left: the file's bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow.core.framework import graph_pb2, node_def_pb2

from tfx_edge.components.core.compression.bias_quantization import SUMS, SimulatedBias
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.tensor_names import producer

# A kernel of a matrix product is larger than its results.
_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative')
_CHANNELS_LAST = (b'NHWC', b'')
_RESHAPING = ('Identity', 'Reshape', 'ExpandDims')


def fold(
    graph: ServingGraph, graph_def: graph_pb2.GraphDef, bias: SimulatedBias, kernel: str, whole: str
) -> bool:
    """Lets the end of the steps behind a convolution be one sum of a convolution with another kernel.

    The nodes between keep what they compute, for whoever fetches them.

    Args:
      graph: the signature.
      graph_def: made from its graph; changed in place.
      bias: the convolution, and the steps behind it.
      kernel: name of a node that will hold the kernel with all factors of the steps, in the shape of the variable.
      whole: name of a node that will hold the whole bias, of shape (channels,).

    Returns:
      Whether it was done; not where there is no factor, an addition is not the last step, the kernel does not
      reach the convolution as it is or reshaped, or it is no convolution with its channels last and one group.
    """
    nodes = {node.name: node for node in graph_def.node}
    site = bias.kernel.site
    convolution = nodes.get(site.node)
    factors = sum(op == 'Mul' for op, _ in bias.steps)
    if convolution is None or not _is_plain(graph, convolution):
        return False
    path, chain = _kernel_path(nodes, convolution, bias), _chain(nodes, bias)
    if path is None or chain is None or factors != len(site.scales) or bias.steps[-1][0] == 'Mul':
        return False
    if not factors:
        return False
    copy = _copied(graph_def, convolution, f'{whole}_convolution')
    copy.input[1] = _copied_chain(graph_def, path, kernel, f'{kernel}_path')
    before = _copied_chain(graph_def, chain, copy.name, f'{whole}_chain')
    last = nodes[bias.node]
    last.op = 'BiasAdd'
    last.input[:] = [before, whole]
    last.attr['data_format'].s = b'NHWC'
    return True


def _is_plain(graph: ServingGraph, convolution: node_def_pb2.NodeDef) -> bool:
    """Whether it is a convolution of one group with its channels last."""
    if convolution.op not in _CONVOLUTIONS or convolution.attr['data_format'].s not in _CHANNELS_LAST:
        return False
    return convolution.name not in graph.grouped_convolutions


def _kernel_path(
    nodes: Mapping[str, node_def_pb2.NodeDef], convolution: node_def_pb2.NodeDef, bias: SimulatedBias
) -> list[node_def_pb2.NodeDef] | None:
    """What reshapes the variable on its way to the convolution, from the convolution; None where there is more."""
    path = []
    name = convolution.input[1]
    while f'{producer(name)}:0' not in bias.kernel.site.variable.reads:
        node = nodes[producer(name)]
        if node.op not in _RESHAPING:
            return None
        path.append(node)
        name = node.input[0]
    return path


def _chain(
    nodes: Mapping[str, node_def_pb2.NodeDef], bias: SimulatedBias
) -> list[node_def_pb2.NodeDef] | None:
    """What else lies between the last addition and the convolution, from the end; None where that is not clear."""
    constants = {producer(operand) for _, operand in bias.steps}
    between = []
    node = nodes[bias.node]
    steps = 0
    while node.name != bias.kernel.site.node:
        if node.op in (*SUMS, 'Mul'):
            dynamic = [name for name in node.input if producer(name) not in constants]
            steps += 1
        else:
            dynamic = [node.input[0]] if node.input else []
            between.append(node)
        if len(dynamic) != 1:
            return None
        node = nodes[producer(dynamic[0])]
    return between if steps == len(bias.steps) else None


def _copied_chain(
    graph_def: graph_pb2.GraphDef, chain: Sequence[node_def_pb2.NodeDef], before: str, prefix: str
) -> str:
    """Copies of nodes, the last of which uses `before`; the name of the first."""
    for index, node in enumerate(reversed(chain)):
        copy = _copied(graph_def, node, f'{prefix}_{index}')
        copy.input[0] = before
        before = copy.name
    return before


def _copied(graph_def: graph_pb2.GraphDef, node: node_def_pb2.NodeDef, name: str) -> node_def_pb2.NodeDef:
    copied = graph_def.node.add()
    copied.CopyFrom(node)
    copied.name = name
    return copied
