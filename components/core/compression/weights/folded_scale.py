"""The per-channel factors behind an operation that LiteRT's converter folds into its weight."""

from __future__ import annotations

import dataclasses

from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.graph_scopes import Scope
from tfx_edge.components.core.tensor_names import producer

_BATCH_NORMS = ('FusedBatchNormV3', 'FusedBatchNormV2', 'FusedBatchNorm')


@dataclasses.dataclass(frozen=True)
class FoldedScale:
    """A per-channel factor behind a weight: `scale`, or scale / sqrt(variance + epsilon) of a batch norm."""

    scale: str
    variance: str = ''
    epsilon: float = 0.0


def folded_scales(scope: Scope, node: node_def_pb2.NodeDef) -> tuple[FoldedScale, ...]:
    """Follows the only consumer of a node while it adds or multiplies by something constant per channel.

    Args:
      scope: the graph.
      node: an operation with a weight.

    Returns:
      What the converter multiplies the weight by, in order.
    """
    scales: list[FoldedScale] = []
    while len(scope.consumers[node.name]) == 1:
        following = scope.nodes[scope.consumers[node.name][0]]
        if following.op in _BATCH_NORMS and not following.attr['is_training'].b:
            epsilon = float(following.attr['epsilon'].f)
            scales.append(FoldedScale(tensor(following.input[1]), tensor(following.input[4]), epsilon))
        elif following.op in ('BiasAdd', 'Add', 'AddV2', 'Sub', 'Mul'):
            others = [name for name in following.input if producer(name) != node.name]
            if len(others) != 1 or producer(others[0]) in scope.dynamic:
                break
            if following.op == 'Sub' and producer(following.input[0]) != node.name:
                break
            if following.op == 'Mul':
                scales.append(FoldedScale(tensor(others[0])))
        elif following.op == 'Squeeze':
            if node.op == 'Conv2DBackpropInput' and not _has_fixed_sizes(scope, node):
                break
        elif following.op != 'Identity':
            break
        node = following
    return tuple(scales)


def _has_fixed_sizes(scope: Scope, node: node_def_pb2.NodeDef) -> bool:
    """Whether the converter knows all sizes of a transposed convolution's output but the batch."""
    sizes = scope.nodes[producer(node.input[0])]
    parts = {'Pack': sizes.input[1:], 'ConcatV2': sizes.input[1:-1], 'Const': []}.get(sizes.op)
    return parts is not None and all(scope.nodes[producer(part)].op == 'Const' for part in parts)


def tensor(name: str) -> str:
    """The full name of a tensor of a graph, in which ':0' may be left out."""
    return name if ':' in name else f'{name}:0'
