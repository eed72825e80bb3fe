"""Links: tensors that lead from one weighted layer to the next and nowhere else, whose channels can be scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.post_training.layers import WeightedLayer, weighted_layers

_HOMOGENEOUS = {flatbuffer.schema.ActivationFunctionType.NONE, flatbuffer.schema.ActivationFunctionType.RELU}


@dataclasses.dataclass(frozen=True, eq=False)
class Link:
    """Two layers with f(x * s) = f(x) * s between them, for one s > 0 in each channel.

    Attributes:
      first: the layer whose output channels are linked.
      second: the only layer that reads them.
      channels: how many they are.
      input_channel: the channel of `first` that each weight of `second` multiplies, to be broadcast to its kernel's
        shape.
    """

    first: WeightedLayer
    second: WeightedLayer
    channels: int
    input_channel: np.ndarray


def find_links(content: flatbuffer.schema.ModelT) -> tuple[Link, ...]:
    """The links of the main graph, in order of execution.

    Args:
      content: a float model.
    """
    layers = weighted_layers(content)
    readers = {layer.source: layer for layer in layers}
    found = []
    for first in layers:
        if not first.owns_kernel or not _scales_through(first.operator):
            continue
        if first.has_bias and not first.owns_bias and not _is_zero(content, first.bias):
            continue
        channels = flatbuffer.shape(content.subgraphs[0].tensors[first.output])[-1]
        end = _end_of_link(content, first.output, channels) if channels is not None else None
        second = readers.get(end) if end is not None else None
        if channels is None or second is None or not second.owns_kernel:
            continue
        if second.input_channel.max() % channels != channels - 1:
            continue
        found.append(Link(first, second, channels, second.input_channel % channels))
    return tuple(found)


def _end_of_link(content: flatbuffer.schema.ModelT, start: int, channels: int) -> int | None:
    """The tensor that a layer reads, after the operators that keep channels apart; None when the way forks or ends."""
    graph = content.subgraphs[0]
    index = start
    while index not in graph.outputs:
        readers = [
            operator
            for operator in graph.operators
            for operand in operator.inputs
            if operand == index and flatbuffer.operator_name(content, operator) != 'SHAPE'
        ]
        if len(readers) != 1:
            return None
        keeps_apart = _NEUTRAL.get(flatbuffer.operator_name(content, readers[0]))
        if keeps_apart is None:
            return index
        if index != readers[0].inputs[0] or not _scales_through(readers[0]):
            return None
        if not keeps_apart(content, readers[0]):
            return None
        index = readers[0].outputs[0]
        last = flatbuffer.shape(graph.tensors[index])[-1:]
        if last in ((), (None,)) or int(last[0] or 0) % channels:
            return None
    return None


def _scales_through(operator: flatbuffer.schema.OperatorT) -> bool:
    fused = getattr(operator.builtinOptions, 'fusedActivationFunction', None)
    return fused is None or fused in _HOMOGENEOUS


def _is_zero(content: flatbuffer.schema.ModelT, index: int | None) -> bool:
    """Whether a bias is a constant of zeros, which scaling leaves as they are: layers may share it."""
    values = None if index is None else flatbuffer.constant(content, content.subgraphs[0].tensors[index])
    return values is not None and not values.any()


def _always(content: flatbuffer.schema.ModelT, operator: flatbuffer.schema.OperatorT) -> bool:
    return True


def _pads_no_channel(content: flatbuffer.schema.ModelT, operator: flatbuffer.schema.OperatorT) -> bool:
    """Whether only other axes are padded, with zeros."""
    tensors = content.subgraphs[0].tensors
    amounts = flatbuffer.constant(content, tensors[operator.inputs[1]])
    if amounts is None or amounts[-1].any():
        return False
    return len(operator.inputs) < 3 or _is_zero(content, operator.inputs[2])


def _reduces_no_channel(content: flatbuffer.schema.ModelT, operator: flatbuffer.schema.OperatorT) -> bool:
    tensors = content.subgraphs[0].tensors
    rank = len(flatbuffer.shape(tensors[operator.inputs[0]]))
    axes = flatbuffer.constant(content, tensors[operator.inputs[1]])
    return axes is not None and not np.any(axes.ravel() % rank == rank - 1)


# Operators f with f(x * s) = f(x) * s in each channel, and the condition for it. A RESHAPE keeps channels apart
# when its last axis is a multiple of them: channel c is then at c, c + channels, c + 2 * channels, ...
_NEUTRAL: Mapping[str, Callable[[flatbuffer.schema.ModelT, flatbuffer.schema.OperatorT], bool]] = {
    'RELU': _always,
    'LEAKY_RELU': _always,
    'PRELU': _always,
    'MAX_POOL_2D': _always,
    'AVERAGE_POOL_2D': _always,
    'RESIZE_BILINEAR': _always,
    'RESIZE_NEAREST_NEIGHBOR': _always,
    'SPACE_TO_BATCH_ND': _always,
    'BATCH_TO_SPACE_ND': _always,
    'RESHAPE': _always,
    'PAD': _pads_no_channel,
    'PADV2': _pads_no_channel,
    'MEAN': _reduces_no_channel,
    'SUM': _reduces_no_channel,
    'REDUCE_MAX': _reduces_no_channel,
}
