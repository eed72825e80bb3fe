"""How often each tap of a convolution's kernel meets the input, and how often the zeros around it."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.post_training.layers import WeightedLayer

_HEIGHT, _WIDTH = 1, 2


def tap_coverage(content: flatbuffer.schema.ModelT, layer: WeightedLayer) -> np.ndarray:
    """The share of output positions at which each tap meets an input value.

    Args:
      content: the float model that the layer is of.
      layer: one of its layers.

    Returns:
      float64, 0 to 1, to be broadcast to the kernel's shape: (1, height, width, 1) for a convolution. An axis of open
      size counts as 1 throughout, as if nothing were padded; so does a fully connected layer.

    Example:
      >>> tap_coverage(content, layer).ravel()  # 1 x 3 taps, width 8, padding SAME
      array([0.875, 1.   , 0.875])
    """
    if layer.kind == 'FULLY_CONNECTED':
        return np.ones(1)
    rows, columns = (_along(content, layer, axis) for axis in (_HEIGHT, _WIDTH))
    return (rows[:, np.newaxis] * columns)[np.newaxis, :, :, np.newaxis]


def _along(content: flatbuffer.schema.ModelT, layer: WeightedLayer, axis: int) -> np.ndarray:
    graph = content.subgraphs[0]
    taps = graph.tensors[layer.kernel].shape[axis]
    size, outputs = (flatbuffer.shape(graph.tensors[index])[axis] for index in (layer.source, layer.output))
    if size is None or outputs is None:
        return np.ones(taps)
    options = layer.operator.builtinOptions
    stride = options.strideH if axis == _HEIGHT else options.strideW
    # A transposed convolution has none.
    dilation = getattr(options, 'dilationHFactor' if axis == _HEIGHT else 'dilationWFactor', 1)
    # A transposed convolution is the same with input and output exchanged.
    small, large = (size, outputs) if layer.kind == 'TRANSPOSE_CONV' else (outputs, size)
    before = 0
    if options.padding == flatbuffer.schema.Padding.SAME:
        before = max((small - 1) * stride + (taps - 1) * dilation + 1 - large, 0) // 2
    met = np.arange(small) * stride + np.arange(taps)[:, np.newaxis] * dilation - before
    return np.count_nonzero((met >= 0) & (met < large), axis=1) / outputs
