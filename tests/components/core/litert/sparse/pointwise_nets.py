"""Small files of the form that XNNPACK computes sparse, and variants of it, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.components.core.litert.file_edits import add_operator, add_tensor
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

_schema = flatbuffer.schema
_SAME, _VALID = _schema.Padding.SAME, _schema.Padding.VALID


class Net:
    """A graph to which one operator after the other is added; `last` is the tensor that the last one yields.

    Args:
      size: height and width of the input.
      channels: of the input.
      half: kernels are stored as float16, each with a DEQUANTIZE.
      seed: of the weights.
    """

    def __init__(self, size: int = 33, channels: int = 3, *, half: bool = False, seed: int = 0) -> None:
        graph = _schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.content = _schema.ModelT()
        self.content.version, self.content.operatorCodes, self.content.metadata = 3, [], None
        self.content.subgraphs, self.content.buffers = [graph], [_schema.BufferT()]
        self._random = np.random.default_rng(seed)
        self._half = half
        self.last = add_tensor(self.content, 'image', 'FLOAT32', (-1, size, size, channels))
        graph.inputs = [self.last]

    def convolution(
        self, filters: int, size: int = 1, stride: int = 1, zeros: float = 0.0, **options: Any
    ) -> int:
        """A CONV_2D, with that share of zeros in its kernel."""
        channels = self.shape()[-1]
        values = self._weights((filters, size, size, channels), zeros)
        return self._product('CONV_2D', 'Conv2DOptions', values, filters, stride, options)

    def depthwise(self, size: int = 3, stride: int = 1, **options: Any) -> int:
        """A DEPTHWISE_CONV_2D."""
        channels = self.shape()[-1]
        values = self._weights((1, size, size, channels), 0.0)
        options = {'depthMultiplier': 1, **options}
        return self._product('DEPTHWISE_CONV_2D', 'DepthwiseConv2DOptions', values, channels, stride, options)

    def pad(self, before: int = 1, after: int = 1) -> int:
        """Rows and columns of zeros."""
        amounts = np.array([(0, 0), (before, after), (before, after), (0, 0)], np.int32)
        held = self._constant('INT32', amounts)
        open_size, height, width, channels = self.shape()
        more = before + after
        return self.add(
            'PAD', [self.last, held], (open_size, height + more, width + more, channels), 'PadOptions'
        )

    def mean(self, *, keep: bool = False) -> int:
        """Over height and width."""
        channels = self.shape()[-1]
        held = self._constant('INT32', np.array([1, 2], np.int32))
        shape = (-1, 1, 1, channels) if keep else (-1, channels)
        return self.add('MEAN', [self.last, held], shape, 'ReducerOptions', keepDims=keep)

    def dense(self, units: int = 4) -> int:
        """A FULLY_CONNECTED."""
        values = self._weights((units, self.shape()[-1]), 0.0)
        inputs = [self.last, self._constant('FLOAT32', values)]
        return self.add('FULLY_CONNECTED', inputs, (-1, units), 'FullyConnectedOptions')

    def add(
        self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], options: str, **values: Any
    ) -> int:
        """Any operator."""
        number = len(self.content.subgraphs[0].operators)
        self.last = add_tensor(self.content, f'{kind.lower()}_{number}', 'FLOAT32', shape)
        add_operator(self.content, kind, list(inputs), [self.last], options, **values)
        return self.last

    def shape(self, index: int | None = None) -> tuple[int, ...]:
        """A tensor's, -1 for an open size; of the last one, if none is named."""
        tensor = self.content.subgraphs[0].tensors[self.last if index is None else index]
        sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        return tuple(int(size) for size in sizes)

    def file(self) -> ModelFile:
        """The file; its output is the last tensor unless others are named."""
        graph = self.content.subgraphs[0]
        graph.outputs = [self.last] if graph.outputs is None else graph.outputs
        return ModelFile(flatbuffer.write(self.content))

    def _product(
        self, kind: str, options: str, values: np.ndarray, filters: int, stride: int, more: dict[str, Any]
    ) -> int:
        given = {'padding': _SAME, 'dilationHFactor': 1, 'dilationWFactor': 1, **more}
        kernel = self._constant('FLOAT32', values)
        if self._half:
            held = self._constant('FLOAT16', values.astype(np.float16))
            kernel = add_tensor(self.content, f'unpacked_{held}', 'FLOAT32', values.shape)
            add_operator(self.content, 'DEQUANTIZE', [held], [kernel], 'DequantizeOptions')
        inputs = [self.last, kernel, self._constant('FLOAT32', np.zeros(filters, np.float32))]
        open_size, height, width, _ = self.shape()
        taps = values.shape[1]
        length = lambda n: -(-n // stride) if given['padding'] == _SAME else -(-(n - taps + 1) // stride)  # noqa: E731
        shape = (open_size, length(height), length(width), filters)
        return self.add(kind, inputs, shape, options, strideH=stride, strideW=stride, **given)

    def _weights(self, shape: tuple[int, ...], zeros: float) -> np.ndarray:
        values = self._random.normal(size=shape).astype(np.float32)
        values[np.abs(values) <= np.quantile(np.abs(values), zeros)] = 0 if zeros else values.min()
        return values

    def _constant(self, kind: str, values: np.ndarray) -> int:
        name = f'constant_{len(self.content.subgraphs[0].tensors)}'
        return add_tensor(self.content, name, kind, values.shape, values)


def stem(size: int = 33, zeros: float = 0.8, *, half: bool = False) -> Net:
    """The beginning of a net: a stem, a depthwise and a 1x1 convolution."""
    net = Net(size, half=half)
    net.convolution(8, 3, 2)
    net.depthwise()
    net.convolution(24, zeros=zeros)
    return net


def end(net: Net, zeros: float = 0.8) -> ModelFile:
    """The end of a net: a depthwise convolution with stride 2, one of 1x1, a mean, a dense layer."""
    net.depthwise(stride=2)
    net.convolution(32, zeros=zeros)
    net.mean()
    net.dense()
    return net.file()
