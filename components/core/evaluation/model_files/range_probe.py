"""Runs a `.tflite` file on examples to find how its integer activations use their ranges, and what they clip."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files.range_use import RangeUse
from tfx_edge.components.core.integer_types import BOUNDS
from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.range_clipping import CELLS, position_counts

# Operators that compute new values and round them to the range of their output tensor. The others pass values on, or
# their kernel fixes the range, such as SOFTMAX.
_COMPUTING = frozenset(
    (
        'ABS', 'ADD', 'BATCH_MATMUL', 'CONV_2D', 'DEPTHWISE_CONV_2D', 'ELU', 'FULLY_CONNECTED', 'GELU', 'HARD_SWISH',
        'LEAKY_RELU', 'MEAN', 'MUL', 'PRELU', 'QUANTIZE', 'RELU', 'RELU6', 'RELU_N1_TO_1', 'SQUARED_DIFFERENCE',
        'SUB', 'SUM', 'TRANSPOSE_CONV',
    )
)  # fmt: skip
# Such operators too, but so steep that the rounding of an int8 input alone can move their output out of its range.
_STEEP = frozenset(('EXP', 'LOG', 'RSQRT'))
# Types of activations.
_INTEGERS = {kind: BOUNDS[kind] for kind in ('INT8', 'INT16', 'UINT8')}
# How many times wider the range of a twin is. Its steps are coarser by the same factor: a value that lies less than
# one such step beyond the tensor's own range does not count as outside.
_WIDER = 4


@dataclasses.dataclass(frozen=True)
class IntegerTensor:
    """An activation whose range a calibration has set.

    Attributes:
      name: in the file.
      index: in the main graph.
      group: index of the tensors' group; a group shares values and one range, so its use is counted together.
      scale: real size of one step.
      zero_point: the integer that means 0.
      lowest: integer of the type.
      highest: integer of the type.
      input_name: the signature's input that it is, or ''.
      source: index of the float tensor that it is rounded from, or None.
    """

    name: str
    index: int
    group: int
    scale: float
    zero_point: int
    lowest: int
    highest: int
    input_name: str = ''
    source: int | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest real number that it can hold."""
        return (self.lowest - self.zero_point) * self.scale, (self.highest - self.zero_point) * self.scale

    @property
    def cell(self) -> int:
        """How many integers make one of the CELLS that the range is divided into."""
        return (self.highest - self.lowest + 1) // CELLS

    @property
    def twin_zero_point(self) -> int:
        """The zero point of a range _WIDER times as wide around the same middle."""
        middle = (self.highest - self.lowest + 1) // 2
        return self.lowest + ((_WIDER - 1) * middle + self.zero_point - self.lowest) // _WIDER


@damaged_file.damage_as_edge_error()
def integer_tensors(model: bytes | ModelFile) -> tuple[IntegerTensor, ...]:
    """The integer activations of a file's main graph whose range a calibration has set.

    Args:
      model: a `.tflite` file.

    Returns:
      Quantized inputs, then the outputs of the operators that compute, in order of execution.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> [tensor.range for tensor in integer_tensors(model)][:1]
      [(0.0, 1.0)]
    """
    return _find(ModelFile.of(model).content)


class RangeProbe:
    """Runs a file with a twin added to each operator that computes; the twin's output has a wider range.

    At a rail of an integer type a clipped value looks like one that lies there by nature (a zero after RELU, the 6 of
    RELU6, a white background), so the integers alone do not show it. The twin reads the same inputs, computes the same
    and shows where the value would have come to lie. Nothing reads a twin: every other tensor is bit for bit that of
    the file. Where a float tensor or an input is rounded, the real numbers themselves show it.

    Not to be pickled: make one in each process.

    Args:
      model: a `.tflite` file.

    Raises:
      EdgeError: the file is damaged, or does not run with twins.
    """

    def __init__(self, model: bytes | ModelFile) -> None:
        content = ModelFile.of(model).changeable()
        self.tensors = _find(content)
        self._twins = _add_twins(content, self.tensors)
        try:
            self._model = LiteRTModel(flatbuffer.write(content), preserve_all_tensors=True)
        except EdgeError as error:
            raise EdgeError(
                f'the ranges of the .tflite file cannot be measured ({error}); set EdgeEvaluation.max_clipping to 1 '
                'and min_range_used to 0 to do without.'
            ) from error

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> RangeUse:
        """What one example uses of the ranges.

        Args:
          inputs: real numbers (or the integers of an input that is not quantized) by signature input name, arrays of
            shape (1, ...). A file with a fixed batch runs on copies, which multiply all counts alike.

        Returns:
          The counts, a row for each of `tensors`.
        """
        self._model(inputs)
        rows = [self._seen(tensor, inputs) for tensor in self.tensors]
        return RangeUse.of_example(rows)

    def _seen(
        self, tensor: IntegerTensor, inputs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, float, float]:
        """Counts by position, and the lowest and highest step from the zero point within the range."""
        read = self._model.interpreter.get_tensor
        lowest, highest = tensor.lowest - tensor.zero_point, tensor.highest - tensor.zero_point
        if tensor.input_name or tensor.source is not None:
            real = inputs[tensor.input_name] if tensor.source is None else read(tensor.source)
            steps = real.astype(np.float64).ravel() / tensor.scale
            steps = steps[~np.isnan(steps)]
            within = np.clip(steps, lowest, highest)
            # Infinity is farther than any position: the ends stand for it.
            ends = (-2 * CELLS * tensor.cell, 3 * CELLS * tensor.cell - 1)
            cells = np.round(np.clip(steps - lowest, *ends)).astype(np.int64) // tensor.cell
        else:
            within = read(tensor.index).astype(np.int64).ravel() - tensor.zero_point
            twin = read(self._twins[tensor.index]).astype(np.int64).ravel() - tensor.twin_zero_point
            cells = (within - lowest) // tensor.cell
            wide = (_WIDER * twin - lowest) // tensor.cell
            outside = (wide >= CELLS - 1 + _WIDER) | (wide <= -_WIDER)
            cells = np.where(outside, wide, cells)
        return position_counts(cells), float(within.min(initial=0)), float(within.max(initial=0))


def _find(content: flatbuffer.schema.ModelT) -> tuple[IntegerTensor, ...]:
    graph = content.subgraphs[0]
    names = {index: name for name, index in file_ends(content).inputs.items()}
    groups = _groups(content, graph)
    found = [
        _integer_tensor(content, graph, groups, int(index), input_name=names[index])
        for index in graph.inputs
        if index in names
    ]
    for operator in graph.operators:
        if _computes(content, graph, operator):
            source = operator.inputs[0]
            is_float = flatbuffer.TENSOR_TYPES[graph.tensors[source].type] == 'FLOAT32'
            rounds = flatbuffer.operator_name(content, operator) == 'QUANTIZE' and is_float
            found += [
                _integer_tensor(content, graph, groups, int(index), source=int(source) if rounds else None)
                for index in operator.outputs
            ]
    return _widest([tensor for tensor in found if tensor is not None])


def _widest(tensors: Sequence[IntegerTensor]) -> tuple[IntegerTensor, ...]:
    """Keeps one of several quantized versions of a float tensor: the widest, whose range holds all its values.

    A narrower one is for an operator whose operands have the range of its output, such as SELECT_V2.
    """
    kept: dict[tuple[str, int], IntegerTensor] = {}
    for tensor in tensors:
        key = ('rounded', tensor.source) if tensor.source is not None else ('computed', tensor.index)
        other = kept.get(key)
        if other is None or np.ptp(tensor.range) > np.ptp(other.range):
            kept[key] = tensor
    return tuple(kept.values())


def _computes(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> bool:
    name = flatbuffer.operator_name(content, operator)
    if name in _STEEP:
        return flatbuffer.TENSOR_TYPES[graph.tensors[operator.inputs[0]].type] == 'INT16'
    return name in _COMPUTING


def _integer_tensor(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    groups: Mapping[int, int],
    index: int,
    *,
    input_name: str = '',
    source: int | None = None,
) -> IntegerTensor | None:
    """The tensor, or None where it is no integer activation with one scale."""
    parameters = _parameters(content, graph, index)
    if parameters is None:
        return None
    kind, scale, zero_point = parameters
    lowest, highest = _INTEGERS[kind]
    name = flatbuffer.tensor_name(graph.tensors[index]).split(';')[0]
    return IntegerTensor(
        name, index, groups.get(index, index), scale, zero_point, lowest, highest, input_name, source
    )


def _groups(content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT) -> dict[int, int]:
    """By tensor, its group: the lowest index of the tensors that share its values and range."""
    groups: dict[int, int] = {}
    for operator in graph.operators:
        if _computes(content, graph, operator):
            continue
        touched = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
        made = [_parameters(content, graph, index) for index in operator.outputs if index >= 0]
        alike = {i for i in touched if (own := _parameters(content, graph, i)) and own in made}
        joined = {groups.get(i, i) for i in alike}
        members = alike | {i for i, group in groups.items() if group in joined}
        groups.update(dict.fromkeys(members, min(joined, default=0)))
    return groups


def _parameters(
    content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT, index: int
) -> tuple[str, float, int] | None:
    """Type, scale and zero point of an integer activation; None for every other tensor."""
    tensor = graph.tensors[index]
    kind = flatbuffer.TENSOR_TYPES[tensor.type]
    quantization = tensor.quantization
    if kind not in _INTEGERS or quantization is None or flatbuffer.is_constant(content, tensor):
        return None
    scales = quantization.scale
    if scales is None or len(scales) != 1:
        return None
    has_zero = quantization.zeroPoint is not None and len(quantization.zeroPoint)
    return kind, float(np.float32(scales[0])), int(quantization.zeroPoint[0]) if has_zero else 0


def _add_twins(content: flatbuffer.schema.ModelT, tensors: tuple[IntegerTensor, ...]) -> dict[int, int]:
    """Adds a twin of each operator that makes one of the tensors; returns the index of the twin's output by tensor.

    Args:
      content: changed in place.
      tensors: of the file.
    """
    graph = content.subgraphs[0]
    wanted = {t.index: t for t in tensors if not t.input_name and t.source is None}
    operators, twins = [], {}
    for operator in graph.operators:
        operators.append(operator)
        for index in operator.outputs:
            if index in wanted:
                twins[index] = len(graph.tensors)
                graph.tensors.append(_wider(graph.tensors[index], wanted[index]))
                twin = copy.deepcopy(operator)
                twin.outputs = [twins[index]]
                operators.append(twin)
    graph.operators = operators
    # As outputs of the graph, for XNNPACK drops tensors that nothing reads.
    graph.outputs = [*graph.outputs, *twins.values()]
    return twins


def _wider(tensor: flatbuffer.schema.TensorT, parameters: IntegerTensor) -> flatbuffer.schema.TensorT:
    twin = copy.deepcopy(tensor)
    twin.name = (tensor.name or b'') + b'/twin'
    twin.quantization.scale = np.array([np.float32(parameters.scale) * np.float32(_WIDER)], np.float32)
    twin.quantization.zeroPoint = np.array([parameters.twin_zero_point], np.int64)
    return twin
