"""The moving mean and variance of batch norms, computed anew after the weights before them changed.

Fine-tuning leaves the statistics of batch norms as they are: the mean and variance of what the incoming weights
compute. Here each batch norm gets the mean and variance of what the compressed weights compute.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import GraphVariable, ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import dynamic_nodes
from tfx_edge.components.core.errors import EdgeError, NotFiniteError

_LOG = logging.getLogger(__name__)
_FUSED = ('FusedBatchNormV3', 'FusedBatchNormV2', 'FusedBatchNorm')
# A variable keeps its elements and their order on the way through these.
_SAME_ELEMENTS = ('Identity', 'Reshape', 'Cast')


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """A batch norm in inference mode whose statistics nothing else uses.

    Attributes:
      input: the tensor that it normalizes.
      mean: the variable that holds the moving mean.
      variance: the variable that holds the moving variance.
      shape: of the statistics as they broadcast against the input.
    """

    input: str
    mean: GraphVariable
    variance: GraphVariable
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Normalization:
    """A normalization as found in the graph: its tensors, and the operations that may use the statistics."""

    input: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    uses: tuple[str, ...]


def re_estimate(
    graph: ServingGraph,
    values: Mapping[str, np.ndarray],
    batches: Iterator[Mapping[str, np.ndarray]],
    count: int,
) -> dict[str, np.ndarray]:
    """Mean and variance of each batch norm's input over some batches, with other values of the variables.

    Batch norms are taken in the order of the data, each with the new statistics of those before it (Izmailov et
    al., 2018, arXiv:1803.05407, section 3.2; here one after the other, in inference mode). Only the magnitude of
    the factor that folds into a kernel changes, never its sign, so that zeros and deployed codebooks stay.

    Args:
      graph: the incoming signature.
      values: of its variables, by checkpoint key, such as `prune` and `cluster` return; variables not named keep
        their stored value.
      batches: arrays of shape (batch, ...) by input name; `count` of them are taken, and held in memory.
      count: number of batches; 0 leaves the statistics as they are.

    Returns:
      New values of the moving means and variances, by checkpoint key, of the stored shape and dtype. The
      variance is that of the population. Batch norms that `find_batch_norms` leaves out are missing.

    Raises:
      EdgeError: there are fewer than `count` batches, or the input of a batch norm is NaN or infinite.

    Example:
      >>> values = prune(graph, pruning, options, batches)
      >>> write_with_values(folder, target, {**values, **re_estimate(graph, values, batches, 50)})
    """
    held = [{name: batch[name] for name in graph.inputs} for batch in itertools.islice(batches, count)]
    if len(held) < count:
        raise EdgeError(
            f'there are {len(held)} training batches; FineTuning.batch_norm_batches asks for {count}. Lower it.'
        )
    if not held:
        return {}
    known = {key: tf.constant(value) for key, value in values.items()}
    estimated: dict[str, np.ndarray] = {}
    for batch_norm in find_batch_norms(graph):
        moments = _moments(graph, batch_norm, known, held)
        for variable, value in zip((batch_norm.mean, batch_norm.variance), moments, strict=True):
            estimated[variable.key] = value.reshape(variable.value.shape).astype(variable.value.dtype)
            known[variable.key] = tf.constant(estimated[variable.key])
    _LOG.info('re-estimated the statistics of %d batch norms on %d batches', len(estimated) // 2, count)
    return estimated


def find_batch_norms(graph: ServingGraph) -> tuple[BatchNorm, ...]:
    """The batch norms of a graph whose statistics can be computed anew, each after those it depends on.

    Recognized are FusedBatchNorm in inference mode and `tf.nn.batch_normalization`, which Keras 3 exports.
    Left out are those whose mean or variance is trainable, not floating, or used by anything else, another batch
    norm included. Other floating variables that are not trained are logged by name.

    Example:
      >>> [batch_norm.mean.name for batch_norm in find_batch_norms(graph)]
      ['batch_normalization/moving_mean', 'batch_normalization_1/moving_mean']
    """
    imported = tf.Graph()
    with imported.as_default():
        tf.graph_util.import_graph_def(graph.graph_def, name='')
    dynamic = dynamic_nodes(graph)
    by_read = {read: v for v in graph.variables for read in v.reads if _is_statistic(v)}
    found: list[tuple[int, BatchNorm]] = []
    for operation in imported.get_operations():
        normalization = _fused(operation) or _factored(operation, dynamic)
        batch_norm = normalization and _batch_norm(normalization, by_read, dynamic)
        if batch_norm:
            found.append((len(_ancestors(operation)), batch_norm))
    taken = {v.key for _, batch_norm in found for v in (batch_norm.mean, batch_norm.variance)}
    for name in sorted({v.name for v in by_read.values() if v.key not in taken}):
        _LOG.info('%s: left as it is; not the statistic of one recognized batch norm alone', name)
    # An operation has more ancestors than each operation that it depends on.
    return tuple(batch_norm for _, batch_norm in sorted(found, key=lambda pair: (pair[0], pair[1].input)))


def _moments(
    graph: ServingGraph,
    batch_norm: BatchNorm,
    values: Mapping[str, tf.Tensor],
    batches: Sequence[Mapping[str, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a batch norm's input, in float64; the variance by the law of total variance."""

    @tf.function(autograph=False, reduce_retracing=True)
    def seen(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return graph.call(inputs, values, [batch_norm.input])[0]

    counts, means, variances = [], [], []
    for batch in batches:
        array = seen({name: tf.constant(value) for name, value in batch.items()}).numpy().astype(np.float64)
        _require_finite(array, batch_norm)
        shape = (1,) * (array.ndim - len(batch_norm.shape)) + batch_norm.shape
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
        counts.append(array.size / np.prod(shape))
        means.append(array.mean(axes, keepdims=True))
        variances.append(array.var(axes, keepdims=True))
    mean = np.average(means, 0, counts)
    return mean, np.average(variances + np.square(means - mean), 0, counts)


def _require_finite(array: np.ndarray, batch_norm: BatchNorm) -> None:
    if not np.isfinite(array).all():
        raise NotFiniteError(
            f'the batch norm of {batch_norm.mean.name!r} sees values that are NaN or infinite; expected finite '
            'ones. Look for them in the examples, or lower FineTuning.learning_rate.'
        )


def _is_statistic(variable: GraphVariable) -> bool:
    return not variable.trainable and np.issubdtype(variable.value.dtype, np.floating)


def _fused(operation: tf.Operation) -> _Normalization | None:
    if operation.type not in _FUSED or operation.get_attr('is_training'):
        return None
    values, _, _, mean, variance = operation.inputs
    return _Normalization(values, mean, variance, (operation.name,))


def _factored(operation: tf.Operation, dynamic: set[str]) -> _Normalization | None:
    """`tf.nn.batch_normalization`: input * scale + (offset - mean * scale), or + -mean * scale.

    scale is rsqrt(variance + epsilon), or that times gamma.
    """
    product, shift = _dynamic_and_constant(operation, ('AddV2', 'Add'), dynamic)
    if product is None or shift is None:
        return None
    values, scale = _dynamic_and_constant(product.op, ('Mul',), dynamic)
    if values is None or scale is None:
        return None
    mean, variance = _mean(shift, scale), _variance(scale)
    if mean is None or variance is None:
        return None
    return _Normalization(values, mean, variance, (product.op.name, operation.name))


def _mean(shift: tf.Tensor, scale: tf.Tensor) -> tf.Tensor | None:
    """The mean in offset - mean * scale, or in -mean * scale."""
    product = shift.op.inputs[1].op if shift.op.type == 'Sub' else shift.op
    others = [tensor for tensor in product.inputs if tensor.name != scale.name]
    if product.type != 'Mul' or len(others) != 1:
        return None
    if shift.op.type == 'Sub':
        return others[0]
    return others[0].op.inputs[0] if others[0].op.type == 'Neg' else None


def _variance(scale: tf.Tensor) -> tf.Tensor | None:
    """The variance in rsqrt(variance + epsilon), or in that times gamma."""
    factors = list(scale.op.inputs) if scale.op.type == 'Mul' else [scale]
    roots = [tensor.op for tensor in factors if tensor.op.type == 'Rsqrt']
    if len(roots) != 1 or roots[0].inputs[0].op.type not in ('AddV2', 'Add'):
        return None
    terms = [tensor for tensor in roots[0].inputs[0].op.inputs if tensor.op.type != 'Const']
    return terms[0] if len(terms) == 1 else None


def _dynamic_and_constant(
    operation: tf.Operation, types: tuple[str, ...], dynamic: set[str]
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """The two operands of an operation of these types, when one depends on an input and one does not."""
    if operation.type in types:
        first, second = operation.inputs
        if first.op.name in dynamic and second.op.name not in dynamic:
            return first, second
        if second.op.name in dynamic and first.op.name not in dynamic:
            return second, first
    return None, None


def _batch_norm(
    normalization: _Normalization, by_read: Mapping[str, GraphVariable], dynamic: set[str]
) -> BatchNorm | None:
    """The batch norm, when its statistics are variables that nothing else uses."""
    reads = [_read(tensor) for tensor in (normalization.mean, normalization.variance)]
    mean, variance = (by_read.get(read.name) for read in reads)
    if mean is None or variance is None or mean.value.shape != variance.value.shape:
        return None
    if any(_dynamic_users(read, dynamic) - set(normalization.uses) for read in reads):
        return None
    shape = _broadcast_shape(normalization, variance)
    return None if shape is None else BatchNorm(normalization.input.name, mean, variance, shape)


def _broadcast_shape(normalization: _Normalization, variance: GraphVariable) -> tuple[int, ...] | None:
    """The shape of the statistics against the input; None where it is unknown or covers the batch."""
    rank = normalization.input.shape.rank
    if rank is None:
        return None
    operation = normalization.input.graph.get_operation_by_name(normalization.uses[-1])
    if operation.type in _FUSED:
        channels_first = operation.get_attr('data_format').startswith(b'NC')
        return (*variance.value.shape, *(1,) * (rank - 2 if channels_first else 0))
    shape = variance.value.shape
    if normalization.variance.name != _read(normalization.variance).name:
        if not normalization.variance.shape.is_fully_defined():
            return None
        shape = tuple(normalization.variance.shape.as_list())
    return shape if len(shape) < rank or shape[0] == 1 else None


def _read(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor that a variable was read into, found from a tensor that holds the same elements."""
    while tensor.op.type in _SAME_ELEMENTS:
        tensor = tensor.op.inputs[0]
    return tensor


def _dynamic_users(read: tf.Tensor, dynamic: set[str]) -> set[str]:
    """The first operations on data that use a variable, through any of its reads."""
    source = read
    while source.op.type != 'Placeholder':
        source = source.op.inputs[0]
    users: set[str] = set()
    pending, seen = [source.op], {source.op.name}
    while pending:
        for tensor in pending.pop().outputs:
            for user in tensor.consumers():
                if user.name in dynamic:
                    users.add(user.name)
                elif user.name not in seen:
                    seen.add(user.name)
                    pending.append(user)
    return users


def _ancestors(operation: tf.Operation) -> set[str]:
    """Names of all operations that an operation depends on."""
    found: set[str] = set()
    pending = [operation]
    while pending:
        for tensor in pending.pop().inputs:
            if tensor.op.name not in found:
                found.add(tensor.op.name)
                pending.append(tensor.op)
    return found
