"""Operators with no derivative at 0, whose inputs are above 0 in float and round to 0 in integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfx_edge.components.core.integer_types import activation_scale
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.modes import activation_bits

_STEEP = frozenset(('LOG', 'RSQRT', 'SQRT'))


@dataclasses.dataclass(frozen=True)
class SteepOperator:
    """An operator with no derivative at 0, whose input rounds to 0.

    Attributes:
      name: in the format, with its output.
      outputs: of the operator and of the one that computes its input: what is to stay float together.
      low: the smallest value of its input.
      high: the largest.
    """

    name: str
    outputs: tuple[str, ...]
    low: float
    high: float


def steep_operators(
    float_model: bytes | ModelFile, ranges: Mapping[str, tuple[float, float]], mode: str
) -> tuple[SteepOperator, ...]:
    """The operators whose gradient would be infinite in training, though the float model's is not.

    Args:
      float_model: a float32 `.tflite` file.
      ranges: (minimum, maximum) by tensor name.
      mode: one with integer activations.

    Returns:
      Those of the main graph, in order of execution.

    Example:
      >>> steep_operators(model, {'counts/add': (1e-6, 1039.0)}, 'INT8')
      (SteepOperator(name="LOG 'counts/Log'", outputs=('counts/Log', 'counts/add'), low=1e-06, high=1039.0),)
    """
    content = ModelFile.of(float_model).content
    graph = content.subgraphs[0]
    made = {int(index) for operator in graph.operators for index in operator.outputs}
    found = []
    for operator in graph.operators:
        kind = flatbuffer.operator_name(content, operator)
        if kind not in _STEEP:
            continue
        source = flatbuffer.tensor_name(graph.tensors[operator.inputs[0]])
        output = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
        low, high = ranges.get(source, (0.0, 0.0))
        if 0 < low < activation_scale(0.0, high, activation_bits(mode)) / 2:
            outputs = (output, source) if int(operator.inputs[0]) in made else (output,)
            found.append(SteepOperator(f'{kind} {output.split(";")[0]!r}', outputs, low, high))
    return tuple(found)
