"""Which activations of a float file become integers, and what decides their range."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.integer_types import BOUNDS, activation_scale
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_reader import float_activations
from tfx_edge.components.core.litert.file.inserted_names import without_quantized
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import litert_engine
from tfx_edge.components.core.litert.quantization.modes import INT8, activation_bits
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

_LOG = logging.getLogger(__name__)
# Made-up scales differ by more, float32 arithmetic by less.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class ActivationTensor:
    """A tensor that becomes integer.

    Attributes:
      name: in the float file.
      group: the tensor whose range decides; tensors of one group share scale and zero point.
      fixed: (minimum, maximum) when the kernel dictates the range, such as softmax's 0 to 255/256; None when
        it follows the calibration.
    """

    name: str
    group: str
    fixed: tuple[float, float] | None


def quantized_activations(
    float_model: bytes | ModelFile, *, keep_float: Sequence[str] = (), mode: str = INT8, io: str = 'FLOAT'
) -> tuple[ActivationTensor, ...]:
    """Asks the quantizer itself which activations become integers, and what decides their range.

    Each tensor is given a made-up range unlike all others; the file that results holds the range that each tensor took.
    Kernels that dictate a range dictate a scale that is a power of two, which no made-up range has. A tensor with
    neither is quantized again with other made-up ranges; if its range does not change, it is fixed. The result is kept
    with the file.

    Args:
      float_model: a float32 `.tflite` file.
      keep_float: as in QuantizationOptions.
      mode: one with integer activations.
      io: as in QuantizationOptions; an integer input or output becomes integer even beside a float operator.

    Returns:
      The tensors that become integers, in order of execution.

    Raises:
      EdgeError: the engine cannot quantize the graph.

    Example:
      >>> [(t.name, t.fixed) for t in quantized_activations(model)][-1]
      ('softmax', (0.0, 0.99609375))
    """
    file = ModelFile.of(float_model)
    options = QuantizationOptions(mode, io, tuple(keep_float))
    return file.once(('quantized activations', options), lambda: _asked(file, options))


def _asked(file: ModelFile, options: QuantizationOptions) -> tuple[ActivationTensor, ...]:
    kept = litert_engine.kept_float(file.content, options.keep_float)
    names = list(float_activations(file))
    _LOG.info('asking the quantizer which of %d tensors become integers', len(names))

    def parameters(made_up: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, tuple[float, int]]:
        return _parameters(ModelFile(litert_engine.run(file, options, kept, made_up)))

    first = _made_up(names, 0)
    one = parameters(first)
    leaders = {name: _leader(one[name], first, options.mode) for name in names if name in one}
    known = all(leader is not None or _is_power_of_two(one[name][0]) for name, leader in leaders.items())
    two = one if known else parameters(_made_up(names, len(names)))
    return tuple(
        ActivationTensor(name, name, _range(one[name], options.mode))
        if leader is None and one[name] == two[name]
        else ActivationTensor(name, leader or name, None)
        for name, leader in leaders.items()
    )


def _is_power_of_two(scale: float) -> bool:
    return math.frexp(scale)[0] == 0.5


def _made_up(names: Sequence[str], start: int) -> dict[str, dict[str, np.ndarray]]:
    """A range for each tensor, no two with the same scale."""
    return {name: litert_engine.entry(-1 - 0.001 * i, 2 + 0.003 * i) for i, name in enumerate(names, start)}


def _parameters(quantized: ModelFile) -> dict[str, tuple[float, int]]:
    """Scale and zero point by the float file's tensor names."""
    found: dict[str, tuple[float, int]] = {}
    graph = quantized.content.subgraphs[0]
    for tensor in graph.tensors:
        scales = tensor.quantization.scale if tensor.quantization is not None else None
        if (
            flatbuffer.TENSOR_TYPES[tensor.type] not in ('INT8', 'INT16')
            or scales is None
            or len(scales) != 1
        ):
            continue
        name = without_quantized(flatbuffer.tensor_name(tensor))
        found.setdefault(name, (float(np.float32(scales[0])), int(tensor.quantization.zeroPoint[0])))
    return found


def _leader(
    parameters: tuple[float, int], made_up: Mapping[str, Mapping[str, np.ndarray]], mode: str
) -> str | None:
    """The tensor whose made-up range gave these parameters; None where none did, or several together."""
    bits = activation_bits(mode)
    scales = {
        other: activation_scale(float(entry['min'][0]), float(entry['max'][0]), bits)
        for other, entry in made_up.items()
    }
    nearest = min(scales, key=lambda other: abs(scales[other] - parameters[0]))
    return nearest if abs(scales[nearest] / parameters[0] - 1) < _ROUNDING else None


def _range(parameters: tuple[float, int], mode: str) -> tuple[float, float]:
    scale, zero_point = parameters
    lowest, highest = BOUNDS[f'INT{activation_bits(mode)}']
    return (lowest - zero_point) * scale, (highest - zero_point) * scale
