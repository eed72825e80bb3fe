"""What a `.tflite` file holds: tensors, operators, and what stayed float."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.operands import weighted_operators

# What an operator computes in.
INTEGER = 'integer'
HYBRID = 'hybrid'
FLOAT = 'float'
CONVERSION = 'conversion'

# These compute nothing: two convert between float and integer, SHAPE reads no values, DENSIFY fills in zeros.
_NO_ARITHMETIC = ('QUANTIZE', 'DEQUANTIZE', 'SHAPE', 'DENSIFY')
# What may stand between a constant and the operator that multiplies with it.
_UNPACKING = ('DEQUANTIZE', 'DENSIFY')


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """One tensor.

    Attributes:
      name: as in the file.
      shape: None for each dimension left open.
      dtype: such as 'float32', 'int8', 'int4'.
      elements: number of elements, an open dimension counted as 1.
      constant: the file holds its values.
      kernel: constant weights of a convolution or a fully connected layer, not a bias.
      zeros: how many elements mean 0 (numeric constants).
      distinct: how many different values there are (numeric constants).
      scales: how many scales quantize it; 0 when it is not quantized.
      scale_values: those scales, the real size of one step each.
      zero_points: the integers that mean 0, one for all scales or one for each.
      quantized_dimension: the dimension that several scales belong to, one scale for each index.
      stored_bytes: size of its values in the file (constants).
      buffer: number of the buffer that holds its values; tensors with the same number share them.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    elements: int
    constant: bool
    kernel: bool
    zeros: int
    distinct: int
    scales: int
    scale_values: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    stored_bytes: int
    buffer: int


@dataclasses.dataclass(frozen=True)
class OperatorSummary:
    """One operator.

    Attributes:
      name: in the format, such as CONV_2D.
      output: its first output tensor.
      integer: it reads and writes no float tensor.
      arithmetic: 'integer'; 'hybrid': float activations on quantized weights; 'float'; 'conversion': none at all
        (QUANTIZE, DEQUANTIZE, SHAPE, DENSIFY).
      weight_bytes: what the constants that it reads take in the file, also those behind a DEQUANTIZE or DENSIFY.
    """

    name: str
    output: str
    integer: bool
    arithmetic: str
    weight_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """A file's content.

    Attributes:
      file_bytes: size.
      signature_name: '' if the file has none.
      inputs: dtype by input name: the signature's, or where there is none, the tensors' (`file_ends`).
      outputs: dtype by output name, likewise.
      tensors: of all subgraphs, in file order.
      operators: of all subgraphs, in order of execution.
    """

    file_bytes: int
    signature_name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    tensors: tuple[TensorSummary, ...]
    operators: tuple[OperatorSummary, ...]

    @property
    def kernels(self) -> tuple[TensorSummary, ...]:
        """The weights of convolutions and fully connected layers."""
        return tuple(tensor for tensor in self.tensors if tensor.kernel)

    @property
    def float_ops(self) -> tuple[OperatorSummary, ...]:
        """Operators that touch float, hybrid ones too, but not those that compute nothing."""
        return tuple(op for op in self.operators if op.arithmetic in (FLOAT, HYBRID))

    @property
    def integer_coverage(self) -> float:
        """Share of the operators with arithmetic that compute in integers only, 0 to 1; 1 when there are none."""
        return self._coverage([1] * len(self.operators))

    @property
    def integer_coverage_by_weight(self) -> float:
        """`integer_coverage` with each operator weighted by the bytes of its constants.

        A constant that several operators read counts for each. 1 when no operator has constants.
        """
        return self._coverage([op.weight_bytes for op in self.operators])

    @property
    def bytes_by_type(self) -> dict[str, int]:
        """What the constants of each type take in the file; tensors that share their values count once."""
        stored = {tensor.buffer: tensor for tensor in self.tensors if tensor.constant}
        sums = {tensor.dtype: 0 for tensor in stored.values()}
        for tensor in stored.values():
            sums[tensor.dtype] += tensor.stored_bytes
        return {dtype: sums[dtype] for dtype in sorted(sums)}

    @property
    def kernel_zeros(self) -> float:
        """Share of zeros in all kernels, 0 to 1."""
        elements = sum(kernel.elements for kernel in self.kernels)
        return sum(kernel.zeros for kernel in self.kernels) / elements if elements else 0.0

    @property
    def kernel_max_distinct(self) -> int:
        """The largest number of distinct values in a kernel."""
        return max((kernel.distinct for kernel in self.kernels), default=0)

    def _coverage(self, counts: list[int]) -> float:
        counted = [
            (op, count)
            for op, count in zip(self.operators, counts, strict=True)
            if op.arithmetic != CONVERSION
        ]
        everything = sum(count for _, count in counted)
        integer = sum(count for op, count in counted if op.integer)
        return integer / everything if everything else 1.0


def inspect_model(model: bytes | ModelFile) -> ModelSummary:
    """Reads what a file holds.

    Args:
      model: a `.tflite` file.

    Returns:
      Its tensors, operators, inputs and outputs.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> summary = inspect_model(pathlib.Path('digits_int8.tflite').read_bytes())
      >>> round(summary.kernel_zeros, 3), [op.name for op in summary.float_ops]
      (0.006, [])
    """
    file = ModelFile.of(model)
    return file.once('summary', lambda: _summary(file))


@damaged_file.damage_as_edge_error()
def _summary(file: ModelFile) -> ModelSummary:
    content = file.content
    tensors: list[TensorSummary] = []
    operators: list[OperatorSummary] = []
    for graph in content.subgraphs:
        kernels = kernel_indices(content, graph)
        tensors += [_tensor(content, tensor, index in kernels) for index, tensor in enumerate(graph.tensors)]
        makers = _makers(graph)
        operators += [_operator(content, graph, operator, makers) for operator in graph.operators]
    ends = file_ends(content)
    graph = content.subgraphs[ends.subgraph]
    return ModelSummary(
        file_bytes=len(file.data),
        signature_name=ends.signature_name,
        inputs=_types(graph, ends.inputs),
        outputs=_types(graph, ends.outputs),
        tensors=tuple(tensors),
        operators=tuple(operators),
    )


def kernel_indices(content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT) -> dict[int, str]:
    """The tensors of a graph that hold kernels, with the name of the operator that uses each."""
    makers = _makers(graph)
    kernels = {}
    for product in weighted_operators(content, graph):
        index = behind_unpacking(content, makers, product.kernel)
        if flatbuffer.is_constant(content, graph.tensors[index]):
            kernels[index] = product.kind
    return kernels


def _makers(graph: flatbuffer.schema.SubGraphT) -> dict[int, flatbuffer.schema.OperatorT]:
    return {index: operator for operator in graph.operators for index in operator.outputs}


def behind_unpacking(
    content: flatbuffer.schema.ModelT, makers: dict[int, flatbuffer.schema.OperatorT], index: int
) -> int:
    """The tensor that an operand is unpacked from: a float16 kernel is dequantized first, a sparse one filled in.

    Args:
      content: a model.
      makers: of one of its graphs, the operator that yields each tensor.
      index: of the operand.

    Returns:
      The index of the tensor; the operand's own where nothing unpacks it.
    """
    # A damaged file may unpack in a circle.
    for _ in makers:
        if index not in makers or flatbuffer.operator_name(content, makers[index]) not in _UNPACKING:
            break
        index = makers[index].inputs[0]
    return index


def _tensor(
    content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT, kernel: bool
) -> TensorSummary:
    shape = flatbuffer.shape(tensor)
    elements = math.prod(1 if size is None else size for size in shape)
    scales, zero_points, dimension = _quantization(tensor)
    zeros, distinct = _counts(content, tensor, zero_points, dimension)
    return TensorSummary(
        name=flatbuffer.tensor_name(tensor),
        shape=shape,
        dtype=flatbuffer.TENSOR_TYPES[tensor.type].lower(),
        elements=elements,
        constant=flatbuffer.is_constant(content, tensor),
        kernel=kernel,
        zeros=zeros,
        distinct=distinct,
        scales=len(scales),
        scale_values=scales,
        zero_points=zero_points,
        quantized_dimension=dimension,
        stored_bytes=_stored_bytes(content, tensor),
        buffer=int(tensor.buffer),
    )


def _quantization(tensor: flatbuffer.schema.TensorT) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    """Scales, zero points and their dimension; none when the tensor is not quantized."""
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or not len(parameters.scale):
        return (), (), 0
    scales = tuple(float(scale) for scale in parameters.scale)
    if not all(map(math.isfinite, scales)):
        raise EdgeError(
            f'tensor {flatbuffer.tensor_name(tensor)!r} has a scale that is no number; '
            'the .tflite file is damaged: make it again.'
        )
    points = parameters.zeroPoint if parameters.zeroPoint is not None else []
    return scales, tuple(int(point) for point in points) or (0,), int(parameters.quantizedDimension)


def _counts(
    content: flatbuffer.schema.ModelT,
    tensor: flatbuffer.schema.TensorT,
    zero_points: tuple[int, ...],
    dimension: int,
) -> tuple[int, int]:
    """How many elements mean 0, and how many different values there are."""
    values = flatbuffer.constant(content, tensor)
    if values is None:
        return 0, 0
    zero = np.array(zero_points or (0,)).astype(values.dtype)
    if len(zero) > 1:
        zero = zero.reshape([-1 if axis == dimension else 1 for axis in range(values.ndim)])
    return int(np.count_nonzero(values == zero)), len(np.unique(values))


def _stored_bytes(content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT) -> int:
    return len(content.buffers[tensor.buffer].data) if flatbuffer.is_constant(content, tensor) else 0


def _operator(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
    makers: dict[int, flatbuffer.schema.OperatorT],
) -> OperatorSummary:
    name = flatbuffer.operator_name(content, operator)
    touched = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    sources = {behind_unpacking(content, makers, i) for i in operator.inputs if i >= 0}
    integer = not any(map(_is_float, touched))
    return OperatorSummary(
        name=name,
        output=flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]) if len(operator.outputs) else '',
        integer=integer,
        arithmetic=CONVERSION
        if name in _NO_ARITHMETIC
        else INTEGER
        if integer
        else _float_arithmetic(content, touched),
        weight_bytes=sum(_stored_bytes(content, graph.tensors[i]) for i in sources),
    )


def _float_arithmetic(content: flatbuffer.schema.ModelT, touched: list[flatbuffer.schema.TensorT]) -> str:
    quantized = (t for t in touched if flatbuffer.is_constant(content, t) and not _is_float(t))
    return HYBRID if any(_quantization(tensor)[0] for tensor in quantized) else FLOAT


def _is_float(tensor: flatbuffer.schema.TensorT) -> bool:
    return flatbuffer.TENSOR_TYPES[tensor.type] in flatbuffer.FLOAT_TYPES


def _types(graph: flatbuffer.schema.SubGraphT, ends: Mapping[str, int]) -> dict[str, str]:
    return {name: flatbuffer.TENSOR_TYPES[graph.tensors[ends[name]].type].lower() for name in sorted(ends)}
