"""uint8 inputs and outputs for an int8 file, as older camera and accelerator code expects."""

from __future__ import annotations

import copy

from tfx_edge.components.core.integer_types import BOUNDS
from tfx_edge.components.core.litert.file import flatbuffer, inserted_names

_OFFSET = BOUNDS['UINT8'][0] - BOUNDS['INT8'][0]
_schema = flatbuffer.schema


def make_uint8(model: flatbuffer.schema.ModelT) -> None:
    """Puts a uint8 tensor, and an operator that converts, before each int8 input and behind each int8 output.

    Scale and range stay the same; the zero point moves by 128. The signature's names stay.

    Args:
      model: changed in place.
    """
    graph = model.subgraphs[0]
    signature = model.signatureDefs[0]
    code = _quantize_code(model)
    for index in range(len(graph.inputs)):
        inside = graph.inputs[index]
        outside = _uint8_twin(graph, inside)
        if outside is not None:
            graph.inputs[index] = outside
            _redirect(signature.inputs, inside, outside)
            graph.operators.insert(0, _operator(code, source=outside, target=inside))
    for index in range(len(graph.outputs)):
        inside = graph.outputs[index]
        outside = _uint8_twin(graph, inside)
        if outside is not None:
            graph.outputs[index] = outside
            _redirect(signature.outputs, inside, outside)
            graph.operators.append(_operator(code, source=inside, target=outside))


def _uint8_twin(graph: flatbuffer.schema.SubGraphT, index: int) -> int | None:
    """A new tensor with the same meaning in uint8, or None when the tensor is not quantized int8."""
    tensor = graph.tensors[index]
    quantized = tensor.quantization is not None and tensor.quantization.scale is not None
    if tensor.type != _schema.TensorType.INT8 or not quantized:
        return None
    twin = copy.deepcopy(tensor)
    twin.name = tensor.name + inserted_names.UINT8.encode()
    twin.type = _schema.TensorType.UINT8
    twin.quantization.zeroPoint = [int(point) + _OFFSET for point in tensor.quantization.zeroPoint]
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _redirect(entries: list[flatbuffer.schema.TensorMapT], old: int, new: int) -> None:
    for entry in entries:
        if entry.tensorIndex == old:
            entry.tensorIndex = new


def _operator(code: int, *, source: int, target: int) -> flatbuffer.schema.OperatorT:
    operator = _schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = _schema.BuiltinOptions.QuantizeOptions
    operator.builtinOptions = _schema.QuantizeOptionsT()
    return operator


def _quantize_code(model: flatbuffer.schema.ModelT) -> int:
    for index, code in enumerate(model.operatorCodes):
        if (
            flatbuffer.flatbuffer_utils.get_builtin_code_from_operator_code(code)
            == _schema.BuiltinOperator.QUANTIZE
        ):
            return index
    code = _schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _schema.BuiltinOperator.QUANTIZE
    code.version = 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
