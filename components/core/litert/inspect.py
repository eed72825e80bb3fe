"""What a `.tflite` file holds: tensors, operators, and what stayed float."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.litert import flatbuffer

# Where the weights stand among the inputs of an operator.
WEIGHT_OPERAND = {
    'CONV_2D': 1,
    'DEPTHWISE_CONV_2D': 1,
    'FULLY_CONNECTED': 1,
    'TRANSPOSE_CONV': 1,
    'CONV_3D': 1,
}
_FLOAT_TYPES = ('FLOAT16', 'FLOAT32', 'FLOAT64')
# They compute nothing in float: two convert between the sides, one reads no values.
_NO_ARITHMETIC = ('QUANTIZE', 'DEQUANTIZE', 'SHAPE')


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
      zeros: how many elements mean 0 (constants).
      distinct: how many different values there are (constants).
      scales: how many scales quantize it; 0 when it is not quantized.
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


@dataclasses.dataclass(frozen=True)
class OperatorSummary:
    """One operator: its name in the format, its first output tensor, and whether it computes in integers only."""

    name: str
    output: str
    integer: bool


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """A file's content.

    Attributes:
      file_bytes: size.
      signature_name: '' if the file has none.
      inputs: dtype by signature input name.
      outputs: dtype by signature output name.
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
        """Operators that compute in float; QUANTIZE and DEQUANTIZE, which convert, and SHAPE do not count."""
        return tuple(op for op in self.operators if not op.integer and op.name not in _NO_ARITHMETIC)

    @property
    def kernel_zeros(self) -> float:
        """Share of zeros in all kernels, 0 to 1."""
        elements = sum(kernel.elements for kernel in self.kernels)
        return sum(kernel.zeros for kernel in self.kernels) / elements if elements else 0.0

    @property
    def kernel_max_distinct(self) -> int:
        """Different values in the kernel that has the most of them."""
        return max((kernel.distinct for kernel in self.kernels), default=0)


def inspect_model(model: bytes) -> ModelSummary:
    """Reads what a file holds.

    Args:
      model: bytes of a `.tflite` file.

    Returns:
      Its tensors, operators, inputs and outputs.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> summary = inspect_model(pathlib.Path('digits.tflite').read_bytes())
      >>> summary.kernel_zeros, [op.name for op in summary.float_ops]
      (0.5, [])
    """
    content = flatbuffer.read(model)
    tensors: list[TensorSummary] = []
    operators: list[OperatorSummary] = []
    for graph in content.subgraphs:
        kernels = kernel_indices(content, graph)
        tensors += [_tensor(content, tensor, index in kernels) for index, tensor in enumerate(graph.tensors)]
        operators += [_operator(content, graph, operator) for operator in graph.operators]
    signature = content.signatureDefs[0] if content.signatureDefs else None
    graph = content.subgraphs[signature.subgraphIndex if signature else 0]
    return ModelSummary(
        file_bytes=len(model),
        signature_name=signature.signatureKey.decode() if signature else '',
        inputs=_types(graph, signature.inputs if signature else []),
        outputs=_types(graph, signature.outputs if signature else []),
        tensors=tuple(tensors),
        operators=tuple(operators),
    )


def kernel_indices(content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT) -> dict[int, str]:
    """The tensors of a graph that hold kernels, with the name of the operator that uses each."""
    maker = {index: operator for operator in graph.operators for index in operator.outputs}
    kernels = {}
    for operator in graph.operators:
        name = flatbuffer.operator_name(content, operator)
        if name not in WEIGHT_OPERAND:
            continue
        index = operator.inputs[WEIGHT_OPERAND[name]]
        # A float16 kernel is dequantized first.
        while index in maker and flatbuffer.operator_name(content, maker[index]) == 'DEQUANTIZE':
            index = maker[index].inputs[0]
        if flatbuffer.is_constant(content, graph.tensors[index]):
            kernels[index] = name
    return kernels


def _tensor(
    content: flatbuffer.schema.ModelT, tensor: flatbuffer.schema.TensorT, kernel: bool
) -> TensorSummary:
    values = flatbuffer.constant(content, tensor)
    shape = flatbuffer.shape(tensor)
    quantization = tensor.quantization
    scales = quantization.scale if quantization is not None and quantization.scale is not None else ()
    zero = int(quantization.zeroPoint[0]) if len(scales) and quantization.zeroPoint is not None else 0
    return TensorSummary(
        name=flatbuffer.tensor_name(tensor),
        shape=shape,
        dtype=flatbuffer.TENSOR_TYPES[tensor.type].lower(),
        elements=int(np.prod([1 if size is None else size for size in shape], dtype=np.int64)),
        constant=flatbuffer.is_constant(content, tensor),
        kernel=kernel,
        zeros=0 if values is None else int(np.count_nonzero(values == zero)),
        distinct=0 if values is None else len(np.unique(values)),
        scales=len(scales),
    )


def _operator(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> OperatorSummary:
    touched = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return OperatorSummary(
        name=flatbuffer.operator_name(content, operator),
        output=flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]) if len(operator.outputs) else '',
        integer=not any(flatbuffer.TENSOR_TYPES[tensor.type] in _FLOAT_TYPES for tensor in touched),
    )


def _types(graph: flatbuffer.schema.SubGraphT, entries: list[flatbuffer.schema.TensorMapT]) -> dict[str, str]:
    types = {e.name.decode(): flatbuffer.TENSOR_TYPES[graph.tensors[e.tensorIndex].type] for e in entries}
    return {name: types[name].lower() for name in sorted(types)}
