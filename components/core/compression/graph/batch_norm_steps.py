"""Fused batch norms in two steps, a product and a sum, as the deployed file computes those that fold into no weight."""

from __future__ import annotations

from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2

from tfx_edge.components.core.tensor_names import producer

_FUSED = ('FusedBatchNormV3', 'FusedBatchNormV2', 'FusedBatchNorm')


def with_batch_norms_in_steps(graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """A graph that computes the same, in which the product of each batch norm in inference mode is a tensor.

    `FusedBatchNorm` becomes input * s + (offset - mean * s) with s = scale / sqrt(variance + epsilon); the sum keeps
    its name. LiteRT's converter does the same; where it folds both into a weight, the file has neither tensor.
    Left fused are those with the channels in front, those of half precision, and those whose other outputs are used.

    Args:
      graph_def: a graph.

    Returns:
      A new graph.

    Example:
      >>> sorted({node.op for node in with_batch_norms_in_steps(graph.graph_def).node} & {'Mul', 'FusedBatchNormV3'})
      ['Mul']
    """
    further = {
        name for node in graph_def.node for name in node.input if name.rpartition(':')[2] not in ('0', name)
    }
    kept_fused = {producer(name) for name in further}
    result = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if _splits(node) and node.name not in kept_fused:
            result.node.extend(_steps(node))
        else:
            result.node.add().CopyFrom(node)
    return result


def _splits(node: node_def_pb2.NodeDef) -> bool:
    return (
        node.op in _FUSED
        and not node.attr['is_training'].b
        and node.attr['data_format'].s in (b'NHWC', b'NDHWC', b'')
        and node.attr['T'].type == types_pb2.DT_FLOAT
    )


def _steps(node: node_def_pb2.NodeDef) -> list[node_def_pb2.NodeDef]:
    values, scale, offset, mean, variance = node.input[:5]
    prefix = f'{node.name}/tfx_edge'
    epsilon = node_def_pb2.NodeDef(op='Const', name=f'{prefix}_epsilon')
    epsilon.attr['dtype'].type = types_pb2.DT_FLOAT
    epsilon.attr['value'].tensor.dtype = types_pb2.DT_FLOAT
    epsilon.attr['value'].tensor.tensor_shape.SetInParent()
    epsilon.attr['value'].tensor.float_val.append(node.attr['epsilon'].f)
    return [
        epsilon,
        _float_node('AddV2', f'{prefix}_variance', variance, epsilon.name),
        _float_node('Rsqrt', f'{prefix}_rsqrt', f'{prefix}_variance'),
        _float_node('Mul', f'{prefix}_scale', f'{prefix}_rsqrt', scale),
        _float_node('Mul', f'{prefix}_mean', mean, f'{prefix}_scale'),
        _float_node('Sub', f'{prefix}_shift', offset, f'{prefix}_mean'),
        _float_node('Mul', f'{prefix}_product', values, f'{prefix}_scale'),
        _float_node('AddV2', node.name, f'{prefix}_product', f'{prefix}_shift'),
    ]


def _float_node(op: str, name: str, *inputs: str) -> node_def_pb2.NodeDef:
    node = node_def_pb2.NodeDef(op=op, name=name, input=inputs)
    node.attr['T'].type = types_pb2.DT_FLOAT
    return node
