"""How far the tensors of a `.tflite` file are from those of another one of the same model, operator by operator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.affine import dequantize
from tfx_edge.components.core.litert.file.interpreter import MAX_BATCH_SIZE, LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile

_INTEGERS = ('INT8', 'UINT8', 'INT16')


@dataclasses.dataclass(frozen=True)
class LayerError:
    """One tensor that both files have.

    Attributes:
      name: of the tensor.
      operator: that computes it; '' for an input.
      dtype: of it in the candidate, such as 'int8'.
      rms: root mean square of the baseline's values.
      error: root mean square of the difference from them.
      share: error / rms; None where all of the baseline's values are 0.
    """

    name: str
    operator: str
    dtype: str
    rms: float
    error: float
    share: float | None


def layer_errors(
    model: bytes | ModelFile,
    baseline: bytes | ModelFile,
    inputs: Mapping[str, np.ndarray],
    baseline_inputs: Mapping[str, np.ndarray],
) -> tuple[LayerError, ...]:
    """Runs both files on the same examples, and compares the tensors that have the same name and shape.

    Integers are dequantized first. The error of a tensor is that of all operators before
    it. Where the error rises from one tensor to the next, the operator between them adds to it.

    Args:
      model: a `.tflite` file.
      baseline: another one of the same model, such as the float one.
      inputs: of the first, by signature input name, arrays of shape (examples, ...).
      baseline_inputs: of the second.

    Returns:
      The errors, in order of execution; tensors without a counterpart are left out.

    Raises:
      EdgeError: a file is damaged, or the inputs do not fit.

    Example:
      >>> run_isolated(layer_errors, int8_file, float_file, features, features)[-1].share
      0.0087
    """
    ours, theirs = _Reader(ModelFile.of(model)), _Reader(ModelFile.of(baseline))
    rows = len(next(iter(inputs.values())))
    step = min(ours.most_rows, theirs.most_rows)
    sums: dict[str, list[float]] = {}
    for start in range(0, rows, step):
        mine = ours({name: values[start : start + step] for name, values in inputs.items()})
        other = theirs({name: values[start : start + step] for name, values in baseline_inputs.items()})
        for name in (name for name in mine if name in other and mine[name].shape == other[name].shape):
            expected = other[name].astype(np.float64)
            squares = np.square(expected), np.square(mine[name] - expected)
            total = sums.setdefault(name, [0.0, 0.0, 0.0])
            for n, value in enumerate((*(float(part.sum()) for part in squares), float(expected.size))):
                total[n] += value
    return tuple(_layer_error(ours, name, *sums[name]) for name in ours.tensors if name in sums)


def _layer_error(reader: _Reader, name: str, squares: float, errors: float, count: float) -> LayerError:
    tensor = reader.tensors[name]
    rms, error = (math.sqrt(total / count) if count else 0.0 for total in (squares, errors))
    share = error / rms if rms else None
    return LayerError(name, tensor.operator, tensor.dtype, rms, error, share)


@dataclasses.dataclass(frozen=True)
class _Tensor:
    index: int
    operator: str
    dtype: str
    scale: float
    zero_point: int


class _Reader:
    """A loaded file, which returns the real numbers in its tensors after a run."""

    def __init__(self, file: ModelFile) -> None:
        self.tensors = _tensors(file.content)
        self._model = LiteRTModel(file.data, preserve_all_tensors=True)
        self.most_rows = self._model.fixed_batch_size or MAX_BATCH_SIZE
        self._values: dict[str, Callable[[], np.ndarray]] = {
            name: self._model.interpreter.tensor(tensor.index) for name, tensor in self.tensors.items()
        }

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        self._model(inputs)
        found = {}
        for name, tensor in self.tensors.items():
            try:
                values = self._values[name]()
            except ValueError:
                continue  # raised for a tensor without memory
            real = dequantize(values, tensor.scale, tensor.zero_point) if tensor.scale else values.copy()
            # A fixed batch is filled up with copies.
            found[name] = real[:rows] if self._model.fixed_batch_size and real.ndim else real
        return found


@damaged_file.damage_as_edge_error()
def _tensors(content: flatbuffer.schema.ModelT) -> dict[str, _Tensor]:
    """The activations of the main graph that hold real numbers, by name, in order of execution."""
    graph = content.subgraphs[0]
    makers = {int(index): '' for index in graph.inputs}
    for operator in graph.operators:
        name = flatbuffer.operator_name(content, operator)
        makers.update({int(index): name for index in operator.outputs if index >= 0})
    found = {}
    for index, maker in makers.items():
        tensor = graph.tensors[index]
        dtype = flatbuffer.TENSOR_TYPES[tensor.type]
        parameters = _parameters(tensor) if dtype in _INTEGERS else None
        if dtype == 'FLOAT32' or parameters is not None:
            scale, zero_point = parameters or (0.0, 0)
            name = flatbuffer.tensor_name(tensor)
            found[name] = _Tensor(index, maker, dtype.lower(), scale, zero_point)
    return found


def _parameters(tensor: flatbuffer.schema.TensorT) -> tuple[float, int] | None:
    """Scale and zero point; None for a tensor that has no scale, or several."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    points = quantization.zeroPoint
    return float(np.float32(quantization.scale[0])), int(points[0]) if points is not None and len(
        points
    ) else 0
