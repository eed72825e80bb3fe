"""Which activations of a float file become integers, and what decides their range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.litert import engine, flatbuffer
from tfx_edge.components.core.litert.activation_reader import float_activations
from tfx_edge.components.core.litert.quantization_options import INT8, INT16X8, QuantizationOptions

_INT8_STEPS = 255
# Symmetric.
_INT16_STEPS = 32767
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
    float_model: bytes, *, keep_float: Sequence[str] = (), mode: str = INT8, io: str = 'FLOAT'
) -> tuple[ActivationTensor, ...]:
    """Asks the quantizer itself which activations become integers, and what decides their range.

    Each tensor is given a made-up range unlike all others, twice; the file that results tells which range each
    tensor took.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      keep_float: as in QuantizationOptions.
      mode: one with integer activations.
      io: as in QuantizationOptions; an integer input or output becomes integer even beside a float operator.

    Returns:
      The tensors that become int8 (INT16X8: int16), in order of execution.

    Raises:
      EdgeError: the engine cannot quantize the graph.

    Example:
      >>> [(t.name, t.fixed) for t in quantized_activations(model)][-1]
      ('softmax', (0.0, 0.99609375))
    """
    content = flatbuffer.read(float_model)
    options = QuantizationOptions(mode, io, tuple(keep_float))
    kept = engine.kept_float(content, options.keep_float)
    names = list(float_activations(float_model))
    first, second = _made_up(names, 0), _made_up(names, len(names))
    one, two = (_parameters(engine.run(float_model, options, kept, made)) for made in (first, second))
    tensors = []
    for name in names:
        if name not in one:
            continue
        if one[name] == two[name]:
            tensors.append(ActivationTensor(name, name, _range(one[name], mode)))
        else:
            tensors.append(ActivationTensor(name, _leader(name, one[name], first, mode), None))
    return tuple(tensors)


def _made_up(names: Sequence[str], start: int) -> dict[str, dict[str, np.ndarray]]:
    """A range for each tensor, each with another scale."""
    return {name: engine.entry(-1 - 0.001 * i, 2 + 0.003 * i) for i, name in enumerate(names, start)}


def _parameters(quantized: bytes) -> dict[str, tuple[float, int]]:
    """Scale and zero point by the float file's tensor names."""
    found: dict[str, tuple[float, int]] = {}
    graph = flatbuffer.read(quantized).subgraphs[0]
    for tensor in graph.tensors:
        scales = tensor.quantization.scale if tensor.quantization is not None else None
        if (
            flatbuffer.TENSOR_TYPES[tensor.type] not in ('INT8', 'INT16')
            or scales is None
            or len(scales) != 1
        ):
            continue
        # What quantizes a float tensor gets a name of its own, with this ending.
        name = flatbuffer.tensor_name(tensor).removesuffix('_quantized')
        found.setdefault(name, (float(np.float32(scales[0])), int(tensor.quantization.zeroPoint[0])))
    return found


def _leader(
    name: str, parameters: tuple[float, int], made_up: Mapping[str, Mapping[str, np.ndarray]], mode: str
) -> str:
    """The tensor whose made-up range gave these parameters; the tensor itself where several gave them together."""
    scales = {other: _scale(float(e['min'][0]), float(e['max'][0]), mode) for other, e in made_up.items()}
    nearest = min(scales, key=lambda other: abs(scales[other] - parameters[0]))
    return nearest if abs(scales[nearest] / parameters[0] - 1) < _ROUNDING else name


def _scale(low: float, high: float, mode: str) -> float:
    return max(-low, high) / _INT16_STEPS if mode == INT16X8 else (high - low) / _INT8_STEPS


def _range(parameters: tuple[float, int], mode: str) -> tuple[float, float]:
    scale, zero_point = parameters
    limits = np.iinfo(np.int16 if mode == INT16X8 else np.int8)
    return (int(limits.min) - zero_point) * scale, (int(limits.max) - zero_point) * scale
