"""Cuts the graph of a signature with string inputs where it becomes dense: after parsing, decoding and Transform."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2, types_pb2

from tfx_edge.components.core.dense_function.flat_graph import applies_transform

_READS = ('ReadVariableOp', 'ResourceGather')
# Prefixes of operators on sparse and ragged tensors, which precede the dense part; those that apply weights are in it.
_SPARSE = ('Sparse', 'Ragged')
_OF_WEIGHTS = ('SparseSegment', 'SparseTensorDenseMatMul')
# By parsing operator: the attribute that holds the number of sparse features.
_SPARSE_FEATURES = {'ParseExample': 'Nsparse', 'ParseExampleV2': 'num_sparse'}
_INTEGERS = (tf.int64, tf.int32, tf.uint8, tf.int8, tf.int16, tf.uint16)


@dataclasses.dataclass(frozen=True)
class Cut:
    """A graph, divided.

    Attributes:
      inputs: tensors at which the dense part begins.
      origins: for each, the tensor that it is a cast of, or itself.
      outputs: by name, the tensors of numbers that the dense part yields.
      batch_sizes: tensors that hold nothing but the number of rows.
      strings: the outputs that are left out: not numeric, or not computed by the dense part.
      has_weights: whether the dense part reads variables.
    """

    inputs: tuple[tf.Tensor, ...]
    origins: tuple[tf.Tensor, ...]
    outputs: Mapping[str, tf.Tensor]
    batch_sizes: tuple[str, ...]
    strings: tuple[str, ...]
    has_weights: bool


def cut_behind_strings(
    graph_def: graph_pb2.GraphDef,
    given: Iterable[str],
    variables: Collection[str],
    outputs: Mapping[str, str],
) -> Cut:
    """Divides the graph of a signature at the last tensors that are made with strings, tables or a parse.

    Args:
      graph_def: of `flat_graph`.
      given: names of the signature's input tensors.
      variables: the placeholders that stand for variables; other resources are tables.
      outputs: tensor by output name.

    Returns:
      The division.

    Example:
      >>> [tensor.op.type for tensor in cut_behind_strings(graph_def, ['examples:0'], [], outputs).inputs]
      ['ParseExampleV2']
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name='')
    starts = [graph.get_tensor_by_name(name) for name in given]
    results = {name: graph.get_tensor_by_name(tensor) for name, tensor in outputs.items()}
    functions = {function.signature.name: function for function in graph_def.library.function}
    numbers = {name: tensor for name, tensor in results.items() if _is_number(tensor.dtype)}
    needed = _before(tensor.op for tensor in numbers.values())
    dependent = _behind(starts, needed)
    words = {
        operation
        for operation in dependent
        if applies_transform(operation) or _handles_words(operation, functions, variables)
    }
    before = _closed(words, dependent) | {tensor.op for tensor in starts}
    dense = dependent - before
    dense_results = {name: tensor for name, tensor in numbers.items() if tensor.op in dense}
    dense &= _before(tensor.op for tensor in dense_results.values())
    border = _border(dense, before)
    sizes = [tensor for tensor in border if tensor.op.type == 'Shape' and tensor.op.inputs[0] in starts]
    first = [tensor for tensor in border if tensor not in sizes]
    reads = any(op.type in _READS for op in _before(tensor.op for tensor in dense_results.values()))
    return Cut(
        tuple(_behind_casts(tensor, dense) for tensor in first),
        tuple(first),
        dense_results,
        tuple(tensor.name for tensor in sizes),
        tuple(name for name in outputs if name not in dense_results),
        reads,
    )


def _is_number(dtype: tf.DType) -> bool:
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def _before(operations: Iterable[tf.Operation]) -> set[tf.Operation]:
    """These operations, and all that they depend on."""
    found: set[tf.Operation] = set()
    pending = list(operations)
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending += [tensor.op for tensor in operation.inputs]
    return found


def _behind(tensors: Iterable[tf.Tensor], within: Collection[tf.Operation]) -> set[tf.Operation]:
    """The operations that depend on some tensors."""
    found: set[tf.Operation] = set()
    pending = [user for tensor in tensors for user in tensor.consumers()]
    while pending:
        operation = pending.pop()
        if operation in within and operation not in found:
            found.add(operation)
            pending += [user for tensor in operation.outputs for user in tensor.consumers()]
    return found


def _closed(words: set[tf.Operation], dependent: set[tf.Operation]) -> set[tf.Operation]:
    """All operations before the cut: those that `words` depend on, and the users of their non-numeric tensors."""
    before: set[tf.Operation] = set()
    added = set(words)
    while added:
        before |= _before(added) & dependent
        added = {
            user
            for operation in before
            for tensor in operation.outputs
            if not _is_number(tensor.dtype)
            for user in tensor.consumers()
            if user in dependent and user not in before
        }
    return before


def _border(dense: set[tf.Operation], before: set[tf.Operation]) -> list[tf.Tensor]:
    """The tensors that the dense part takes from before it, in the order of their names."""
    taken = {tensor.ref() for operation in dense for tensor in operation.inputs if tensor.op in before}
    return sorted((reference.deref() for reference in taken), key=lambda tensor: tensor.name)


def _behind_casts(tensor: tf.Tensor, dense: set[tf.Operation]) -> tf.Tensor:
    """Follows the only user while it casts an integer to a type no wider: examples hold 64 bits, devices take 32."""
    while tensor.dtype in _INTEGERS:
        users = [user for user in tensor.consumers() if user in dense]
        if len(users) != 1 or users[0].type != 'Cast' or users[0].outputs[0].dtype not in _INTEGERS:
            break
        if users[0].outputs[0].dtype.size > tensor.dtype.size:
            break
        (tensor,) = users[0].outputs
    return tensor


def _handles_words(
    operation: tf.Operation, functions: Mapping[str, function_pb2.FunctionDef], variables: Collection[str]
) -> bool:
    """Whether an operation takes or makes strings, looks something up in a table, or works on a sparse tensor."""
    tensors = [*operation.inputs, *operation.outputs]
    if any(tensor.dtype == tf.string for tensor in tensors):
        return True
    tables = (
        tensor
        for tensor in operation.inputs
        if tensor.dtype == tf.resource and _holder(tensor).name not in variables
    )
    if any(True for _ in tables) or _is_sparse(operation.type) or _takes_sparse(operation):
        return True
    return any(_mentions_strings(node) for node in _called_nodes(operation.node_def, functions))


def _holder(tensor: tf.Tensor) -> tf.Operation:
    operation = tensor.op
    while operation.type == 'Identity':
        operation = operation.inputs[0].op
    return operation


def _is_sparse(kind: str) -> bool:
    return kind.startswith(_SPARSE) and not kind.startswith(_OF_WEIGHTS)


def _takes_sparse(operation: tf.Operation) -> bool:
    """Whether it takes a part of a sparse or ragged feature, whose number of values varies between examples."""
    return any(
        tensor.op.type in _SPARSE_FEATURES and not _is_dense_feature(tensor) for tensor in operation.inputs
    )


def _is_dense_feature(tensor: tf.Tensor) -> bool:
    """Whether an output of a parse is a dense feature; these follow the three tensors of each sparse feature."""
    first = 3 * tensor.op.get_attr(_SPARSE_FEATURES[tensor.op.type])
    return first <= tensor.value_index < first + len(tensor.op.get_attr('Tdense'))


def _called_nodes(
    node: node_def_pb2.NodeDef, functions: Mapping[str, function_pb2.FunctionDef]
) -> Iterator[node_def_pb2.NodeDef]:
    """The nodes of the functions that a node calls, loops over or chooses from."""
    seen: set[str] = set()
    pending = [node]
    while pending:
        for name in _functions_of(pending.pop()):
            if name in functions and name not in seen:
                seen.add(name)
                yield from functions[name].node_def
                pending += functions[name].node_def


def _functions_of(node: node_def_pb2.NodeDef) -> Iterator[str]:
    for value in node.attr.values():
        yield from (function.name for function in [value.func, *value.list.func] if function.name)


def _mentions_strings(node: node_def_pb2.NodeDef) -> bool:
    kinds = (kind for value in node.attr.values() for kind in [value.type, *value.list.type])
    return node.op.startswith('Decode') or any(kind == types_pb2.DT_STRING for kind in kinds)
