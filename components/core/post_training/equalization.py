"""Cross-layer equalization: the channels between two layers brought to one scale.

Nagel, van Baalen, Blankevoort and Welling, 2019: Data-Free Quantization Through Weight Equalization and Bias
Correction (arXiv:1906.04721), section 4.1. What a layer yields in channel c is divided by s_c, and the weights of
the next layer that meet it are multiplied by s_c: the float model computes the same. With the largest magnitudes
r1_c of the first kernel's channel and r2_c of the second kernel's, s_c = sqrt(r1_c / r2_c) makes both
sqrt(r1_c * r2_c). Links are swept until nothing changes. A depthwise layer is part of two links; the three ranges
of these end equal, as in the paper's appendix.

LiteRT scales kernels per output channel. So the tensor between gains accuracy, for it has one scale, and the second
kernel loses some, for its input channels share a scale. Four small nets of convolutions were measured in
int8. When their channels were made uneven by up to 2^12 against each other, the outputs' signal-to-noise ratio fell
from 30 to 38 dB to about 0; this rule brought it back to within 1 dB, and changed it by less than 1 dB on the nets as
trained. Measured activations in place of r1 lost up to 25 dB on one net or another, however they were weighed against
the second kernel. Factors rounded to powers of two, which would keep the float file to the last bit, lost
up to 1.8 dB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantize import require_finite_weights
from tfx_edge.components.core.post_training.channel_links import Link, find_links
from tfx_edge.components.core.post_training.few_valued_kernels import has_few_values
from tfx_edge.components.core.post_training.layers import WeightedLayer, constant, with_constants

_MAX_SWEEPS = 100
# Sweeping ends when no factor of a sweep is farther from 1 than this.
_CONVERGED = 1e-3
# A bias decides its channel's range if, relative to the channel's weights, it is this many times the layer's median.
_LARGE_BIAS = 8.0


@dataclasses.dataclass(frozen=True)
class Equalized:
    """An equalized float file.

    Attributes:
      file: the float `.tflite` file.
      pairs: output tensor names of the layers whose common channels were scaled, in order of execution.
      kept: output tensor names of the pairs that were left alone, because the second kernel takes few values (it was
        clustered, or trained for integers), which scaling its input channels would multiply.
    """

    file: ModelFile
    pairs: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]

    @property
    def model(self) -> bytes:
        """The bytes of the file."""
        return self.file.data


def equalize(float_model: bytes | ModelFile) -> Equalized:
    """Scales channels between layers so that one scale for each tensor suits them all.

    Only values of constants change. The outputs stay the same but for float rounding: factors are applied in
    float64, and are made by operations that are exact to the last bit everywhere. Zeros stay zeros, and the first
    kernel of a pair keeps its clusters.

    Args:
      float_model: a float32 `.tflite` file.

    Returns:
      The file, and what was done. Calibrate it anew: the ranges of its activations change.

    Raises:
      EdgeError: the file is damaged, or a weight is NaN.

    Example:
      >>> equalize(model).pairs
      (('conv/Relu', 'depthwise/Relu'), ('depthwise/Relu', 'pointwise/Relu'))
    """
    file = ModelFile.of(float_model)
    require_finite_weights(file)
    content = file.content
    links: list[Link] = []
    kept: list[Link] = []
    for link in find_links(content):
        few = has_few_values(constant(content, link.second.kernel), link.second.channel_axis)
        # A depthwise kernel's input channel is its output channel: scaling it makes no further distinct values.
        (kept if few and link.second.kind != 'DEPTHWISE_CONV_2D' else links).append(link)
    constants = _constants(content, links)
    for _ in range(_MAX_SWEEPS):
        # All links are swept, whichever of them changed.
        changes = [_balance(link, constants) for link in links]
        if max(changes, default=0.0) < _CONVERGED:
            break
    return Equalized(
        file=ModelFile.of_content(with_constants(content, constants)) if links else file,
        pairs=tuple((link.first.name, link.second.name) for link in links),
        kept=tuple((link.first.name, link.second.name) for link in kept),
    )


def _balance(link: Link, constants: dict[int, np.ndarray]) -> float:
    """Scales one link's channels, in place.

    Returns:
      How far the factors were from 1 at most.
    """
    first, second = link.first, link.second
    bias = None if first.bias is None else constants.get(first.bias)
    makes = _first_range(first, constants[first.kernel], bias)
    takes = _second_range(link, constants[second.kernel])
    # A channel that is always 0, or that meets only zeros, takes the smallest range of the others in place of 0.
    factors = np.sqrt(_without_zeros(makes) / _without_zeros(takes))
    constants[first.kernel] /= _along(factors, first)
    if bias is not None:
        bias /= factors
    constants[second.kernel] *= factors[link.input_channel]
    return float(np.abs(factors - 1).max())


def _first_range(layer: WeightedLayer, kernel: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Largest magnitude of each output channel's weights.

    Batch norm can switch a channel off: its weights become tiny, its bias stays and then decides the range.
    """
    largest = np.abs(kernel).max(axis=layer.other_axes, initial=0)
    if bias is None:
        return largest
    both = (largest > 0) & (bias != 0)
    if not both.any():
        return largest
    usual = np.median(np.abs(bias[both]) / largest[both])
    return np.maximum(largest, np.abs(bias) / (usual * _LARGE_BIAS))


def _second_range(link: Link, kernel: np.ndarray) -> np.ndarray:
    """Largest magnitude of the weights that meet each channel."""
    # Reduced first: a large kernel is swept many times.
    shared = tuple(axis for axis, size in enumerate(link.input_channel.shape) if size == 1)
    weights = np.abs(kernel).max(axis=shared, keepdims=True, initial=0)
    largest = np.zeros(link.channels)
    np.maximum.at(largest, link.input_channel, weights)
    return largest


def _without_zeros(ranges: np.ndarray) -> np.ndarray:
    """The ranges with the smallest one above 0 in place of zeros."""
    smallest = np.min(ranges, where=ranges > 0, initial=np.inf)
    return np.where(ranges > 0, ranges, smallest if np.isfinite(smallest) else 1.0)


def _along(factors: np.ndarray, layer: WeightedLayer) -> np.ndarray:
    return np.expand_dims(factors, layer.other_axes)


def _constants(content: flatbuffer.schema.ModelT, links: Sequence[Link]) -> dict[int, np.ndarray]:
    """The constants that are scaled, in float64 by index."""
    indices = {index for link in links for index in (link.first.kernel, link.second.kernel)}
    # A bias that layers share is zeros: nothing to scale.
    indices |= {link.first.bias for link in links if link.first.bias is not None and link.first.owns_bias}
    return {index: constant(content, index).astype(np.float64) for index in sorted(indices)}
