"""Which activations of a float file become integers, and their values while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import engine, flatbuffer
from tfx_edge.components.core.litert.interpreter import MAX_BATCH_SIZE, LiteRTModel
from tfx_edge.components.core.litert.quantization_options import INT8, QuantizationOptions

# Of int8.
_STEPS = 255
# Made-up scales differ by more, float32 arithmetic by less.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class ActivationTensor:
    """A tensor that becomes int8.

    Attributes:
      name: in the float file.
      group: the tensor whose range decides; tensors of one group share scale and zero point.
      fixed: (minimum, maximum) when the kernel dictates the range, such as softmax's 0 to 255/256; None when
        it follows the calibration.
    """

    name: str
    group: str
    fixed: tuple[float, float] | None


class ActivationReader:
    """Runs a float file and reads all its float activations.

    Args:
      float_model: bytes of a float32 `.tflite` file.

    Raises:
      EdgeError: the file is damaged.
    """

    def __init__(self, float_model: bytes) -> None:
        self.model = LiteRTModel(float_model, preserve_all_tensors=True)
        self._indices = float_activations(float_model)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The activations of one invocation.

        Args:
          inputs: by signature input name, arrays of shape (batch, ...); the batch is run at once.

        Returns:
          By tensor name, float32 arrays as they lie in the runtime (the batch of a file with a fixed batch
          is filled up with copies of the last row).

        Raises:
          EdgeError: the inputs do not fit, or are more rows than run at once.
        """
        rows = max((len(values) for values in inputs.values()), default=0)
        if rows > (self.model.fixed_batch_size or MAX_BATCH_SIZE):
            raise EdgeError(f'a batch of {rows} rows cannot be read at once; give at most {MAX_BATCH_SIZE}.')
        self.model(inputs)
        return {name: self.model.interpreter.get_tensor(index) for name, index in self._indices.items()}


def activation_values(float_model: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The value of each float activation on one batch.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      inputs: by signature input name, arrays of shape (batch, ...), at most 8 rows.

    Returns:
      By tensor name, float32 arrays.

    Raises:
      EdgeError: the file is damaged or the inputs do not fit.

    Example:
      >>> activation_values(model, {'image': images[:8]})['dense/Relu'].shape
      (8, 32)
    """
    return ActivationReader(float_model)(inputs)


def float_activations(float_model: bytes) -> dict[str, int]:
    """Index in the main graph by name of each float32 tensor that is an input or computed, in order of execution."""
    content = flatbuffer.read(float_model)
    graph = content.subgraphs[0]
    computed = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    return {
        flatbuffer.tensor_name(graph.tensors[index]): index
        for index in computed
        if flatbuffer.TENSOR_TYPES[graph.tensors[index].type] == 'FLOAT32'
    }


def quantized_activations(
    float_model: bytes, *, keep_float: Sequence[str] = ()
) -> tuple[ActivationTensor, ...]:
    """Asks the quantizer itself which activations become integers, and what decides their range.

    Each tensor is given a made-up range unlike all others, twice; the file that results tells which range each
    tensor took.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      keep_float: as in QuantizationOptions.

    Returns:
      The tensors that become int8, in order of execution.

    Raises:
      EdgeError: the engine cannot quantize the graph.

    Example:
      >>> [(t.name, t.fixed) for t in quantized_activations(model)][-1]
      ('softmax', (0.0, 0.99609375))
    """
    content = flatbuffer.read(float_model)
    options = QuantizationOptions(INT8, keep_float=tuple(keep_float))
    kept = engine.kept_float(content, options.keep_float)
    names = list(float_activations(float_model))
    first, second = _made_up(names, 0), _made_up(names, len(names))
    one, two = (_parameters(engine.run(float_model, options, kept, made)) for made in (first, second))
    tensors = []
    for name in names:
        if name not in one:
            continue
        if one[name] == two[name]:
            tensors.append(ActivationTensor(name, name, _range(one[name])))
        else:
            tensors.append(ActivationTensor(name, _leader(name, one[name], first), None))
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
        if flatbuffer.TENSOR_TYPES[tensor.type] != 'INT8' or scales is None or len(scales) != 1:
            continue
        # What quantizes a float tensor gets a name of its own, with this ending.
        name = flatbuffer.tensor_name(tensor).removesuffix('_quantized')
        found.setdefault(name, (float(np.float32(scales[0])), int(tensor.quantization.zeroPoint[0])))
    return found


def _leader(name: str, parameters: tuple[float, int], made_up: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """The tensor whose made-up range gave these parameters; the tensor itself where several gave them together."""
    scales = {other: float(e['max'][0] - e['min'][0]) / _STEPS for other, e in made_up.items()}
    nearest = min(scales, key=lambda other: abs(scales[other] - parameters[0]))
    return nearest if abs(scales[nearest] / parameters[0] - 1) < _ROUNDING else name


def _range(parameters: tuple[float, int]) -> tuple[float, float]:
    scale, zero_point = parameters
    return (-128 - zero_point) * scale, (127 - zero_point) * scale
