"""Float operators between integer ones: each costs two conversions and a float kernel on the device."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

_CONVERSIONS = ('QUANTIZE', 'DEQUANTIZE')


@dataclasses.dataclass(frozen=True)
class FloatIsland:
    """Float operators that are connected, with integers before and behind them.

    Attributes:
      operators: name and first output of each, in order of execution.
    """

    operators: tuple[str, ...]


@damaged_file.damage_as_edge_error()
def float_islands(model: bytes | ModelFile) -> tuple[FloatIsland, ...]:
    """The islands of a file's main graph.

    Float operators at the beginning or end of the graph (behind a float input, say) are no island; a float file has
    none.

    Args:
      model: a `.tflite` file.

    Returns:
      The islands, in order of execution.

    Raises:
      EdgeError: the file is damaged.

    Example:
      >>> float_islands(mixed_file)
      (FloatIsland(operators=('LOG logits/Log',)),)
    """
    content = ModelFile.of(model).content
    graph = content.subgraphs[0]
    operators = list(graph.operators)
    names = [flatbuffer.operator_name(content, operator) for operator in operators]
    floating = {
        n
        for n, operator in enumerate(operators)
        if names[n] not in _CONVERSIONS
        and any(_is_float_activation(content, graph, i) for i in _tensors(operator))
    }
    islands = []
    for members in _connected(operators, floating, content, graph):
        sources = {int(i) for n in members for i in operators[n].inputs if i >= 0}
        made = {int(i) for n in members for i in operators[n].outputs}
        lands = any(
            names[n] == 'DEQUANTIZE'
            and set(map(int, op.outputs)) & sources
            and _is_activation(content, graph, op)
            for n, op in enumerate(operators)
        )
        leaves = any(
            names[n] == 'QUANTIZE' and set(map(int, op.inputs)) & made for n, op in enumerate(operators)
        )
        if lands and leaves:
            named = (
                f'{names[n]} {flatbuffer.tensor_name(graph.tensors[operators[n].outputs[0]])}'
                for n in members
            )
            islands.append(FloatIsland(tuple(named)))
    return tuple(islands)


def _connected(
    operators: list[flatbuffer.schema.OperatorT],
    chosen: set[int],
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
) -> list[list[int]]:
    """Groups of operators that share float activations, each in order."""
    group_of_tensor: dict[int, set[int]] = {}
    groups: list[set[int]] = []
    for n in sorted(chosen):
        group = {n}
        touched = [i for i in _tensors(operators[n]) if _is_float_activation(content, graph, i)]
        for index in touched:
            group |= group_of_tensor.get(index, set())
        groups = [other for other in groups if not other & group] + [group]
        for member in group:
            for index in _tensors(operators[member]):
                if _is_float_activation(content, graph, index):
                    group_of_tensor[index] = group
    return [sorted(group) for group in sorted(groups, key=min)]


def _tensors(operator: flatbuffer.schema.OperatorT) -> list[int]:
    return [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]


def _is_float_activation(
    content: flatbuffer.schema.ModelT, graph: flatbuffer.schema.SubGraphT, index: int
) -> bool:
    tensor = graph.tensors[index]
    kind = flatbuffer.TENSOR_TYPES[tensor.type]
    return kind in flatbuffer.FLOAT_TYPES and not flatbuffer.is_constant(content, tensor)


def _is_activation(
    content: flatbuffer.schema.ModelT,
    graph: flatbuffer.schema.SubGraphT,
    operator: flatbuffer.schema.OperatorT,
) -> bool:
    """Whether what an operator reads is computed, not stored."""
    return not flatbuffer.is_constant(content, graph.tensors[operator.inputs[0]])
