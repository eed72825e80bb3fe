"""Which constants of a float file become integers, read off the quantized file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedConstant
from tfx_edge.components.core.integer_types import BITS, largest
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.operands import OPERANDS
from tfx_edge.components.core.litert.quantization import minimum_ranges
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.litert.quantization.quantized_activations import ActivationTensor

# Relative error of scales in float32.
_ROUNDING = 1e-5


def quantized_constants(
    float_model: bytes | ModelFile, activations: Sequence[ActivationTensor], options: QuantizationOptions
) -> tuple[DeployedConstant, ...]:
    """Quantizes a file over made-up ranges, and reads how each constant came out.

    Biases, which follow from the scales of what they are added to, are left out.

    Args:
      float_model: a float32 `.tflite` file.
      activations: all that become integers in it.
      options: how it is quantized.

    Returns:
      The constants that become integers, in order of the file.

    Raises:
      EdgeError: the engine cannot quantize the graph.

    Example:
      >>> [(c.operator, c.bits, c.axis) for c in quantized_constants(model, activations, QuantizationOptions())]
      [('CONV_2D', 8, 0), ('MUL', 8, None)]
    """
    file = ModelFile.of(float_model)
    made_up = {tensor.group: (-1.0, 1.0) for tensor in activations}
    live = minimum_ranges.wide_enough(file.content, activations, made_up, options.mode)
    # The members of a group have one range, which stands under the group's name.
    made_up |= {tensor.group: live[tensor.name] for tensor in activations if tensor.fixed is None}
    quantized = quantized_file(file, options, made_up).content
    parameters = {
        flatbuffer.tensor_name(tensor): tensor
        for tensor in quantized.subgraphs[0].tensors
        if flatbuffer.TENSOR_TYPES[tensor.type] in BITS and flatbuffer.is_constant(quantized, tensor)
    }
    content = file.content
    uses = _uses(content)
    found = []
    for index, tensor in enumerate(content.subgraphs[0].tensors):
        name = flatbuffer.tensor_name(tensor)
        values = flatbuffer.constant(content, tensor)
        if values is None or values.dtype != np.float32 or not values.size or index not in uses:
            continue
        if name in parameters:
            constant = _constant(name, values, parameters[name], uses[index])
            found.append(dataclasses.replace(constant, **_product(content, index)))
    return tuple(found)


def _uses(content: flatbuffer.schema.ModelT) -> dict[int, list[tuple[str, str]]]:
    """Kind and first output of each operator that uses a tensor, by the tensor's index."""
    graph = content.subgraphs[0]
    uses: dict[int, list[tuple[str, str]]] = {}
    for operator in graph.operators:
        output = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
        use = flatbuffer.operator_name(content, operator), output
        for index in operator.inputs:
            uses.setdefault(int(index), []).append(use)
    return uses


def _product(content: flatbuffer.schema.ModelT, kernel: int) -> dict[str, Any]:
    """What the first operator multiplies a kernel with, and the bias that it adds."""
    graph = content.subgraphs[0]
    operator = next(operator for operator in graph.operators if kernel in operator.inputs)
    kind = flatbuffer.operator_name(content, operator)
    operands = OPERANDS.get(kind)
    if operands is None or operator.inputs[operands.kernel] != kernel:
        return {}
    source = graph.tensors[operator.inputs[operands.source]]
    found: dict[str, Any] = {'source': flatbuffer.tensor_name(source)}
    bias = operands.bias_index(operator.inputs)
    if bias is not None:
        found['bias'] = flatbuffer.constant(content, graph.tensors[bias])
    if found.get('bias') is not None:
        found['bias'] = found['bias'].ravel()
    return found


def _constant(
    name: str, values: np.ndarray, quantized: flatbuffer.schema.TensorT, uses: list[tuple[str, str]]
) -> DeployedConstant:
    parameters = quantized.quantization
    bits = BITS[flatbuffer.TENSOR_TYPES[quantized.type]]
    axis = int(parameters.quantizedDimension) if len(parameters.scale) > 1 else None
    # With one scale a zero point may be 0 by chance; then the scale decides.
    whole = np.abs(values).max() / largest(bits)
    symmetric = not np.any(parameters.zeroPoint) and (
        axis is not None or float(parameters.scale[0]) >= whole * (1 - _ROUNDING)
    )
    outputs = tuple(output for _, output in uses)
    return DeployedConstant(name, values, bits, axis, bool(symmetric), uses[0][0], outputs)
