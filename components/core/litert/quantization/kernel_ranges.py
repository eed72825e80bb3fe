"""Wider scales for output channels whose bias would not fit into int32.

A bias is stored in steps of (input scale x kernel scale). In a channel whose weights are all zero, or tiny, this
step is so small that the bias leaves int32: the engine clips it, and float32 rounds the clipped value up, so
that it turns negative. Pruning and a batch norm that switched a channel off both make such channels. TensorFlow
Lite's own quantizer widens the kernel scale there, and so does this.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.dense_scales import FULLY_CONNECTED, PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.integer_types import activation_scale, largest
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.operands import weighted_operators
from tfx_edge.components.core.litert.quantization.modes import INT8, activation_bits, kernel_bits

# Half of int32 for the bias, the other half for what accumulates on it.
LARGEST_BIAS = 2.0**30
_SMALLEST_WIDTH = 1e-9


def for_large_biases(
    content: flatbuffer.schema.ModelT,
    activations: Mapping[str, Mapping[str, np.ndarray]],
    mode: str = INT8,
    dense_scales: str = PER_CHANNEL,
) -> dict[str, dict[str, np.ndarray]]:
    """The ranges of kernels that need a wider one than their own in some channel.

    Args:
      content: a float model.
      activations: {'min': array, 'max': array} by name of each activation that becomes an integer.
      mode: one with integer activations.
      dense_scales: PER_TENSOR where the kernels of fully connected layers have one scale each.

    Returns:
      {'min': array, 'max': array} by kernel name, one value for each scale, in the kernel's rank; the
      other channels keep their largest magnitude. Empty when every bias fits.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for graph in content.subgraphs:
        for product in weighted_operators(content, graph):
            if product.bias is None:
                continue
            kernel_tensor = graph.tensors[product.kernel]
            kernel = flatbuffer.constant(content, kernel_tensor)
            bias = flatbuffer.constant(content, graph.tensors[product.bias])
            given = activations.get(flatbuffer.tensor_name(graph.tensors[product.source]))
            if kernel is None or bias is None or given is None:
                continue
            steps = largest(kernel_bits(mode, product.kind))
            axes: tuple[int, ...] = (product.operands.channel_axis,)
            if product.kind == FULLY_CONNECTED and dense_scales == PER_TENSOR:
                axes = ()
            bounds = _widened(kernel, bias, axes, _input_scale(given, mode), steps)
            if bounds is not None:
                found[flatbuffer.tensor_name(kernel_tensor)] = {'min': -bounds, 'max': bounds}
    return found


def _widened(
    kernel: np.ndarray, bias: np.ndarray, axes: tuple[int, ...], input_scale: float, steps: int
) -> np.ndarray | None:
    others = tuple(i for i in range(kernel.ndim) if i not in axes)
    largest = np.max(np.abs(kernel), axis=others, keepdims=True)
    needed = np.abs(bias.ravel()).astype(np.float64) / (input_scale * LARGEST_BIAS) * steps
    needed = needed if axes else needed.max(keepdims=True)
    if len(needed) != largest.size:
        return None
    # Rounded up, so that the float32 scale holds the bias.
    needed = np.nextafter(needed.astype(np.float32), np.float32(np.inf)).reshape(largest.shape)
    # A channel without a bias or weights keeps the engine's smallest scale.
    if not np.any(needed > np.maximum(largest, 1e-9)):
        return None
    return np.maximum(largest, np.where(needed > np.maximum(largest, 1e-9), needed, 0)).astype(np.float32)


def _input_scale(given: Mapping[str, np.ndarray], mode: str) -> float:
    low, high = min(float(given['min'][0]), 0.0), max(float(given['max'][0]), 0.0)
    bits = activation_bits(mode)
    return max(activation_scale(low, high, bits), activation_scale(0.0, _SMALLEST_WIDTH, bits))
