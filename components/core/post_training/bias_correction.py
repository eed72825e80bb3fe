"""Bias correction: the mean error that rounded kernels make in each output channel is taken out of the biases.

Nagel, van Baalen, Blankevoort and Welling, 2019: Data-Free Quantization Through Weight Equalization and Bias
Correction (arXiv:1906.04721), section 4.2. A kernel with the error epsilon shifts the mean output of channel j by
the sum of epsilon_j * E[input]; weights that meet padding zeros shift nothing. The means E[input] are measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.post_training.layers import (
    WeightedLayer,
    constant,
    weighted_layers,
    with_constants,
)
from tfx_edge.components.core.post_training.tap_coverage import tap_coverage

_INTEGER_KERNELS = ('INT8', 'INT4')


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A float file with corrected biases.

    Attributes:
      file: the float `.tflite` file.
      corrected: output tensor names of the layers whose bias was changed, in order of execution.
      skipped: output tensor names of layers with an integer kernel that were left as they are: they have no bias of
        their own, their input's channels are not the kernel's, or the converter dilated them by SPACE_TO_BATCH_ND.
    """

    file: ModelFile
    corrected: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def model(self) -> bytes:
        """The bytes of the file."""
        return self.file.data


def correct(
    float_model: bytes | ModelFile,
    quantized_model: bytes | ModelFile,
    channel_means: Mapping[str, np.ndarray],
) -> Corrected:
    """Changes biases so that each quantized layer's mean output is the float layer's.

    The kernels' errors are read from the quantized file. Quantize the corrected file with the same options and
    ranges: its kernels become the same integers.

    Args:
      float_model: the float32 `.tflite` file.
      quantized_model: the file that was quantized from it, with int8 or int4 kernels.
      channel_means: by name of a layer's input tensor, the mean of each channel (last axis) over examples and
        places in the float model, float64 of shape (channels,); for all of `needed_means`.

    Returns:
      The float file with other biases, and what was done.

    Raises:
      EdgeError: a file is damaged, or means are missing or do not fit.

    Example:
      >>> corrected = correct(model, quantize_model(model, options, ranges), means)
      >>> file = quantize_model(corrected.model, options, ranges)
    """
    file = ModelFile.of(float_model)
    content = file.content
    errors = _kernel_errors(content, ModelFile.of(quantized_model).content)
    corrected, skipped = [], []
    biases = {}
    for layer in weighted_layers(content):
        if layer.kernel not in errors:
            continue
        if layer.bias is None or not _is_correctable(content, layer):
            skipped.append(layer.name)
            continue
        means = _means(content, layer, channel_means)
        shifts = (errors[layer.kernel] * tap_coverage(content, layer) * means[layer.input_channel]).sum(
            axis=layer.other_axes
        )
        biases[layer.bias] = constant(content, layer.bias).astype(np.float64) - shifts
        corrected.append(layer.name)
    return Corrected(
        file=ModelFile.of_content(with_constants(content, biases)) if corrected else file,
        corrected=tuple(corrected),
        skipped=tuple(skipped),
    )


def needed_means(float_model: bytes | ModelFile) -> tuple[str, ...]:
    """The tensors whose channel means `correct` takes, in order of execution.

    Args:
      float_model: a float32 `.tflite` file.

    Returns:
      Names of the input tensors of layers with a bias of their own, each once.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> needed_means(model)
      ('image', 'conv/Relu')
    """
    content = ModelFile.of(float_model).content
    layers = [layer for layer in weighted_layers(content) if _is_correctable(content, layer)]
    return tuple(dict.fromkeys(_source(content, layer) for layer in layers))


def _is_correctable(content: flatbuffer.schema.ModelT, layer: WeightedLayer) -> bool:
    """Whether the bias is the layer's alone, each channel of the input one of the kernel's, and its mean known."""
    makers = {index: operator for operator in content.subgraphs[0].operators for index in operator.outputs}
    maker = makers.get(layer.source)
    # Such an input holds padding zeros; what is computed from them is cropped from the output.
    if maker is not None and flatbuffer.operator_name(content, maker) == 'SPACE_TO_BATCH_ND':
        return False
    return layer.owns_bias and _channels(content, layer) == layer.input_channel.max() + 1


def _channels(content: flatbuffer.schema.ModelT, layer: WeightedLayer) -> int | None:
    return flatbuffer.shape(content.subgraphs[0].tensors[layer.source])[-1]


def _source(content: flatbuffer.schema.ModelT, layer: WeightedLayer) -> str:
    return flatbuffer.tensor_name(content.subgraphs[0].tensors[layer.source])


def _means(
    content: flatbuffer.schema.ModelT, layer: WeightedLayer, channel_means: Mapping[str, np.ndarray]
) -> np.ndarray:
    name, channels = _source(content, layer), _channels(content, layer)
    if name not in channel_means:
        raise EdgeError(
            f'the calibration has no channel means of tensor {name!r}, which layer {layer.name!r} reads; '
            'calibrate this model again.'
        )
    means = np.asarray(channel_means[name], np.float64)
    if means.shape != (channels,) or not np.isfinite(means).all():
        raise EdgeError(
            f'the channel means of tensor {name!r} have the shape {means.shape}; expected {channels} finite numbers. '
            'Calibrate this model again.'
        )
    return means


def _kernel_errors(
    content: flatbuffer.schema.ModelT, quantized: flatbuffer.schema.ModelT
) -> dict[int, np.ndarray]:
    """Quantized minus float kernel, float64, by index in the float file; of kernels that became integers."""
    tensors = {flatbuffer.tensor_name(tensor): tensor for tensor in quantized.subgraphs[0].tensors}
    errors = {}
    for layer in weighted_layers(content):
        name = flatbuffer.tensor_name(content.subgraphs[0].tensors[layer.kernel])
        tensor = tensors.get(name)
        if tensor is None or flatbuffer.TENSOR_TYPES[tensor.type] not in _INTEGER_KERNELS:
            continue
        kernel = constant(content, layer.kernel)
        real = _dequantized(quantized, tensor)
        if real is None or real.shape != kernel.shape:
            raise EdgeError(
                f'kernel {name!r} of the quantized file is not that of the float file; give the file that was '
                'quantized from it.'
            )
        errors[layer.kernel] = real - kernel
    return errors


def _dequantized(quantized: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT) -> np.ndarray | None:
    integers = flatbuffer.constant(quantized, tensor)
    if integers is None or tensor.quantization is None or tensor.quantization.scale is None:
        return None
    axes = [-1 if axis == tensor.quantization.quantizedDimension else 1 for axis in range(integers.ndim)]
    scales, zero_points = (
        np.asarray(values, np.float64).reshape(axes if len(values) > 1 else -1)
        for values in (tensor.quantization.scale, tensor.quantization.zeroPoint)
    )
    return (integers.astype(np.float64) - zero_points) * scales
