"""The weighted layers of a float file: convolutions and fully connected layers, and which way their channels run."""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.operands import weighted_operators

_KINDS = ('CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED', 'TRANSPOSE_CONV')
_NO_TENSOR = -1


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedLayer:
    """A layer of the main graph whose kernel is a float32 constant.

    Attributes:
      name: of the output tensor.
      kind: such as 'CONV_2D'.
      operator: the operator itself.
      source: index of the input tensor.
      output: index of the output tensor.
      kernel: index of the kernel's tensor.
      bias: index of the bias's tensor; None without a bias, or with one that is no float32 constant.
      owns_kernel: the kernel's values are used nowhere else.
      owns_bias: the bias's values are used nowhere else.
      has_bias: there is a bias of whatever kind.
      channel_axis: the kernel's axis that counts output channels.
      input_channel: input channel that each weight meets, int64, to be broadcast to the kernel's shape.
    """

    name: str
    kind: str
    operator: flatbuffer.schema.OperatorT
    source: int
    output: int
    kernel: int
    bias: int | None
    owns_kernel: bool
    owns_bias: bool
    has_bias: bool
    channel_axis: int
    input_channel: np.ndarray

    @property
    def other_axes(self) -> tuple[int, ...]:
        """The kernel's axes that do not count output channels."""
        return tuple(axis for axis in range(self.input_channel.ndim) if axis != self.channel_axis)


def weighted_layers(content: flatbuffer.schema.ModelT) -> tuple[WeightedLayer, ...]:
    """The layers of the main graph, in order of execution.

    Layers that compute their kernel, or hold it in another type or sparse, are left out.

    Args:
      content: a float model.
    """
    graph = content.subgraphs[0]
    uses = _uses_of_buffers(content)
    layers = []
    for product in weighted_operators(content, graph):
        if product.kind not in _KINDS:
            continue
        kernel, bias = float_constant(content, product.kernel), product.bias
        channels = flatbuffer.shape(graph.tensors[product.source])[-1:]
        if kernel is None or channels in ((), (None,)):
            continue
        own = bias if bias is not None and float_constant(content, bias) is not None else None
        output = product.operator.outputs[0]
        layers.append(
            WeightedLayer(
                name=flatbuffer.tensor_name(graph.tensors[output]),
                kind=product.kind,
                operator=product.operator,
                source=product.source,
                output=output,
                kernel=product.kernel,
                bias=own,
                owns_kernel=uses[graph.tensors[product.kernel].buffer] == 1,
                owns_bias=own is not None and uses[graph.tensors[own].buffer] == 1,
                has_bias=bias is not None,
                channel_axis=product.operands.channel_axis,
                input_channel=_input_channel(product.kind, kernel.shape, int(channels[0] or 0)),
            )
        )
    return tuple(layers)


def float_constant(content: flatbuffer.schema.ModelT, index: int) -> np.ndarray | None:
    """The values of a dense float32 constant of the main graph, or None."""
    tensor = content.subgraphs[0].tensors[index]
    if tensor.sparsity is not None or flatbuffer.TENSOR_TYPES[tensor.type] != 'FLOAT32':
        return None
    return flatbuffer.constant(content, tensor)


def constant(content: flatbuffer.schema.ModelT, index: int) -> np.ndarray:
    """The values of a constant that a layer was found to have."""
    values = float_constant(content, index)
    assert values is not None
    return values


def with_constants(
    content: flatbuffer.schema.ModelT, values: Mapping[int, np.ndarray]
) -> flatbuffer.schema.ModelT:
    """A model with other values in some float32 constants of its main graph; shapes and all else are shared.

    Args:
      content: stays as it is.
      values: by index of the tensor, arrays of its shape.
    """
    changed = copy.copy(content)
    changed.buffers = list(content.buffers)
    for index, array in values.items():
        number = content.subgraphs[0].tensors[index].buffer
        changed.buffers[number] = copy.copy(content.buffers[number])
        packed = np.ascontiguousarray(array, np.float32).tobytes()
        changed.buffers[number].data = np.frombuffer(packed, np.uint8)
    return changed


def _input_channel(kind: str, shape: tuple[int, ...], channels: int) -> np.ndarray:
    if kind == 'DEPTHWISE_CONV_2D':
        return (np.arange(shape[3]) // (shape[3] // channels)).reshape(1, 1, 1, -1)
    if kind != 'CONV_2D':
        return np.arange(shape[-1]).reshape((1,) * (len(shape) - 1) + (-1,))
    outputs, *_, inputs = shape
    group = np.arange(outputs) // (outputs // (channels // inputs))
    return group.reshape(-1, 1, 1, 1) * inputs + np.arange(inputs)


def _uses_of_buffers(content: flatbuffer.schema.ModelT) -> collections.Counter[int]:
    """How often operators, and outputs of graphs, read each buffer."""
    uses: collections.Counter[int] = collections.Counter()
    for graph in content.subgraphs:
        read = [i for operator in graph.operators for i in operator.inputs if i != _NO_TENSOR]
        uses.update(graph.tensors[index].buffer for index in (*read, *graph.outputs))
    return uses
