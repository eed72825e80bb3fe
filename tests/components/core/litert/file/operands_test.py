"""What stands where among the operands, and in the names, of files that were made."""

from __future__ import annotations

from collections.abc import Callable

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inserted_names import origin, without_quantized
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.operands import OPERANDS, role, weighted_operators
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


def test_operands_are_where_the_converter_puts_them(many_operators: tuple[bytes, dict]) -> None:
    content = flatbuffer.read(many_operators[0])
    tensors = content.subgraphs[0].tensors
    seen = set()
    for product in weighted_operators(content, content.subgraphs[0]):
        seen.add(product.kind)
        kernel = flatbuffer.constant(content, tensors[product.kernel])
        channels = flatbuffer.shape(tensors[product.operator.outputs[0]])[-1]
        assert kernel is not None
        assert kernel.shape[product.operands.channel_axis] == channels
        assert not flatbuffer.is_constant(content, tensors[product.source])
        assert product.bias is None or flatbuffer.shape(tensors[product.bias]) == (channels,)
    assert seen == {'CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED', 'TRANSPOSE_CONV'}


def test_roles_of_constants() -> None:
    assert [role('TRANSPOSE_CONV', position) for position in range(4)] == [
        'operand_0',
        'kernel',
        'operand_2',
        'bias',
    ]
    assert role('MUL', 1) == 'operand_1'


def test_operator_without_bias_has_none() -> None:
    assert OPERANDS['CONV_2D'].bias_index([3, 4]) is None
    assert OPERANDS['CONV_2D'].bias_index([3, 4, -1]) is None
    assert OPERANDS['CONV_2D'].bias_index([3, 4, 5]) == 5


def test_every_computed_tensor_is_named_after_one_of_the_float_file(
    many_operators: tuple[bytes, dict], observe: Callable
) -> None:
    model, inputs = many_operators
    options = QuantizationOptions('INT8', io='UINT8', engine='LITERT')
    quantized = inspect_model(quantize_model(model, options, observe(model, inputs)))
    known = {tensor.name for tensor in inspect_model(model).tensors}
    names = {tensor.name for tensor in quantized.tensors if not tensor.constant}
    assert {origin(name, known) for name in names} <= known
    assert names - known
    assert origin('other_quantized', known) is None
    assert without_quantized('sum_quantized') == without_quantized('sum') == 'sum'
