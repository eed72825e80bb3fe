"""What a scale for each unit of the fully connected layers costs in a file, beside one for each layer."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Iterator

import numpy as np

from tfx_edge.components.core.dense_scales import FULLY_CONNECTED, PER_CHANNEL
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import kernel_indices
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.operands import WeightedOperator, weighted_operators
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

_LOG = logging.getLogger(__name__)
# Shares of the file or its zip; a smaller saving is not worth a line in the log.
_LARGE = 0.05
# Of a scale, float32, and its zero point, int64.
_BYTES_OF_A_SCALE = 4 + 8


@dataclasses.dataclass(frozen=True)
class DenseScaleCost:
    """What one scale for each dense layer would save.

    Attributes:
      layers: fully connected layers with a scale for each unit.
      file_bytes: of the file.
      saved_bytes: of the file, that scales and zero points of kernels and biases take beyond the first.
      zip_bytes: of the file, compressed by DEFLATE.
      saved_zip_bytes: of these, with integers in units of the one scale.
      error_ratio: how much larger the rounding errors of a layer's weights would be, root mean square; the largest of
        the layers.
    """

    layers: int
    file_bytes: int
    saved_bytes: int
    zip_bytes: int
    saved_zip_bytes: int
    error_ratio: float

    @property
    def is_large(self) -> bool:
        """Whether file or zip would be smaller by a twentieth."""
        return self.saved_bytes >= _LARGE * self.file_bytes or self.saved_zip_bytes >= _LARGE * self.zip_bytes


def dense_scale_cost(model: bytes | ModelFile) -> DenseScaleCost | None:
    """Measures a file beside the same file whose dense layers have one scale each.

    The second file is made of the first's integers, rounded to the steps of the layer's largest scale; it is only
    measured.

    Args:
      model: a quantized `.tflite` file.

    Returns:
      The cost; None where no fully connected layer has several scales, or these layers are less than a twentieth of the
      file.

    Example:
      >>> cost = dense_scale_cost(int8_file)
      >>> cost.layers, cost.saved_bytes, len(int8_file)
      (2, 944, 13088)
    """
    file = ModelFile.of(model)
    content = file.changeable()
    layers = list(_layers(content))
    if not layers:
        return None
    held = sum(len(content.buffers[kernel.buffer].data) + _scale_bytes(kernel) for kernel, _ in layers)
    if held < _LARGE * len(file.data):
        return None
    ratios = [_with_one_scale(content, kernel, bias) for kernel, bias in layers]
    other = flatbuffer.write(content)
    before, after = (len(zlib.compress(data)) for data in (file.data, other))
    return DenseScaleCost(
        layers=len(layers),
        file_bytes=len(file.data),
        saved_bytes=len(file.data) - len(other),
        zip_bytes=before,
        saved_zip_bytes=before - after,
        error_ratio=max(ratios),
    )


def log_dense_scales(model: bytes | ModelFile, options: QuantizationOptions) -> None:
    """Logs what the scales of dense layers cost, where that is a twentieth of the file or of its zip.

    Layers that have one scale though it was not asked for are named too.

    Args:
      model: a quantized `.tflite` file.
      options: what was asked for.
    """
    file = ModelFile.of(model)
    if options.dense_scales == PER_CHANNEL and (alone := _with_one_unasked(file.content)):
        _LOG.info(
            '%d dense layers have one scale each, though dense_scales is PER_CHANNEL, for their engine gives them no '
            'others: %s. Engine LITERT gives each unit a scale.',
            len(alone),
            ', '.join(alone),
        )
    cost = dense_scale_cost(file)
    if cost is None or not cost.is_large:
        return
    _LOG.info(
        'the scales of %d dense layers, one for each unit, take %d bytes of the file (%.0f %%); with dense_scales '
        'PER_TENSOR these are saved, and about %d bytes of its zip (%.0f %%), while the rounding errors of a '
        "layer's weights grow up to %.1f times",
        cost.layers,
        cost.saved_bytes,
        100 * cost.saved_bytes / cost.file_bytes,
        cost.saved_zip_bytes,
        100 * cost.saved_zip_bytes / cost.zip_bytes,
        cost.error_ratio,
    )


def _with_one_unasked(content: flatbuffer.schema.ModelT) -> list[str]:
    """Integer kernels of fully connected layers of several units that have one scale, by name."""
    names = []
    for graph in content.subgraphs:
        for index, kind in kernel_indices(content, graph).items():
            tensor = graph.tensors[index]
            scales = tensor.quantization.scale if tensor.quantization is not None else None
            if kind == FULLY_CONNECTED and scales is not None and len(scales) == 1 < tensor.shape[0]:
                names.append(flatbuffer.tensor_name(tensor))
    return names


def _layers(
    content: flatbuffer.schema.ModelT,
) -> Iterator[tuple[flatbuffer.schema.TensorT, flatbuffer.schema.TensorT | None]]:
    """Kernel and bias of each fully connected layer with several scales, each kernel once."""
    seen = set()
    for graph in content.subgraphs:
        for product in weighted_operators(content, graph):
            kernel = graph.tensors[product.kernel]
            if product.kind != FULLY_CONNECTED or kernel.buffer in seen or not _has_scales(content, kernel):
                continue
            seen.add(kernel.buffer)
            yield kernel, _integer_bias(content, graph, product)


def _has_scales(content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT) -> bool:
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return scales is not None and len(scales) > 1 and flatbuffer.is_constant(content, tensor)


def _integer_bias(
    content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT, product: WeightedOperator
) -> flatbuffer.schema.TensorT | None:
    if product.bias is None:
        return None
    bias = graph.tensors[product.bias]
    return bias if _has_scales(content, bias) else None


def _scale_bytes(kernel: flatbuffer.schema.TensorT) -> int:
    return len(kernel.quantization.scale) * _BYTES_OF_A_SCALE


def _with_one_scale(
    content: flatbuffer.schema.ModelT,
    kernel: flatbuffer.schema.TensorT,
    bias: flatbuffer.schema.TensorT | None,
) -> float:
    """Gives a layer the largest of its scales; returns by how much the steps of its weights grow, root mean square."""
    scales = np.asarray(kernel.quantization.scale, np.float64)
    for tensor in (kernel, bias):
        if tensor is None:
            continue
        parameters = tensor.quantization
        own = np.asarray(parameters.scale, np.float64)
        values = flatbuffer.constant(content, tensor)
        assert values is not None
        finer = own / own.max()
        rounded = np.rint(values * finer.reshape([-1] + [1] * (values.ndim - 1))).astype(values.dtype)
        content.buffers[tensor.buffer].data = _packed(rounded, tensor)
        parameters.scale = np.array([own.max()], np.float32)
        parameters.zeroPoint = np.zeros(1, np.int64)
    return float(scales.max() / np.sqrt(np.mean(np.square(scales))))


def _packed(values: np.ndarray, tensor: flatbuffer.schema.TensorT) -> np.ndarray:
    """The bytes of integers as the file holds them: those of four bits two in a byte, the low half first."""
    if flatbuffer.TENSOR_TYPES[tensor.type] != 'INT4':
        return np.frombuffer(values.tobytes(), np.uint8)
    halves = np.append(values.ravel(), np.zeros(values.size % 2, values.dtype)).astype(np.uint8) & 0xF
    return halves[::2] | halves[1::2] << 4
