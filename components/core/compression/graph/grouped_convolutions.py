"""Convolutions with groups as one convolution for each group, which TensorFlow can differentiate on a CPU."""

from __future__ import annotations

from collections.abc import Mapping

from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2

CONVOLUTIONS = ('Conv2D', 'Conv3D')
_CHANNELS_LAST = (b'NHWC', b'NDHWC', b'')


def can_be_divided(node: node_def_pb2.NodeDef) -> bool:
    """Whether an operation is a convolution whose channels come last."""
    return node.op in CONVOLUTIONS and node.attr['data_format'].s in _CHANNELS_LAST


def with_groups_divided(graph_def: graph_pb2.GraphDef, groups: Mapping[str, int]) -> graph_pb2.GraphDef:
    """A graph that computes the same without groups.

    Args:
      graph_def: a graph.
      groups: number of groups of each convolution that has more than one, by name of its node.

    Returns:
      The graph, in which the joined results have the convolution's name; `graph_def` itself where it has no such node.

    Example:
      >>> [node.op for node in with_groups_divided(graph_def, {'conv': 2}).node]
      ['Placeholder', 'Const', 'Split', 'Split', 'Conv2D', 'Conv2D', 'ConcatV2']
    """
    if not any(node.name in groups for node in graph_def.node):
        return graph_def
    result = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name in groups:
            result.node.extend(_divided(node, groups[node.name]))
        else:
            result.node.add().CopyFrom(node)
    return result


def _divided(node: node_def_pb2.NodeDef, count: int) -> list[node_def_pb2.NodeDef]:
    prefix = f'{node.name}/tfx_edge'
    dtype = node.attr['T'].type
    axis = node_def_pb2.NodeDef(op='Const', name=f'{prefix}_axis')
    axis.attr['dtype'].type = types_pb2.DT_INT32
    tensor = axis.attr['value'].tensor
    tensor.dtype = types_pb2.DT_INT32
    tensor.tensor_shape.SetInParent()
    tensor.int_val.append(len(node.attr['strides'].list.i) - 1)
    split = []
    for what, name in zip(('input', 'kernel'), node.input, strict=False):
        part = node_def_pb2.NodeDef(op='Split', name=f'{prefix}_{what}', input=[axis.name, name])
        part.attr['num_split'].i = count
        part.attr['T'].type = dtype
        split.append(part)
    parts = []
    for index in range(count):
        part = node_def_pb2.NodeDef()
        part.CopyFrom(node)
        part.name = f'{prefix}_{index}'
        part.input[:] = [f'{split[0].name}:{index}', f'{split[1].name}:{index}']
        parts.append(part)
    joined = node_def_pb2.NodeDef(op='ConcatV2', name=node.name)
    joined.input[:] = [*(part.name for part in parts), axis.name, *node.input[2:]]
    joined.attr['N'].i = count
    joined.attr['T'].type = dtype
    joined.attr['Tidx'].type = types_pb2.DT_INT32
    return [axis, *split, *parts, joined]
