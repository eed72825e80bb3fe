"""Activations that hold the values of another one, in other places."""

from __future__ import annotations

import collections

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

# Operators whose output has each value of their first input once; PAD's has zeros beside.
_MOVING = frozenset(('EXPAND_DIMS', 'PAD', 'RESHAPE', 'SQUEEZE', 'TRANSPOSE'))


def moved_values(float_model: bytes | ModelFile) -> dict[str, str]:
    """The activations of the main graph whose values are those of another one, each once, and beside them only zeros.

    So their statistics are known without looking at them.

    Args:
      float_model: a float32 `.tflite` file.

    Returns:
      By the name of a float32 activation, the name of the other, which is an input of the graph or computed before.

    Example:
      >>> moved_values(pathlib.Path('digits.tflite').read_bytes())  # nothing but convolutions, sums and a softmax
      {}
    """
    content = ModelFile.of(float_model).content
    graph = content.subgraphs[0]
    known = [*graph.inputs]
    found: dict[str, str] = {}
    for operator in graph.operators:
        if flatbuffer.operator_name(content, operator) in _MOVING:
            source, made = (graph.tensors[end[0]] for end in (operator.inputs, operator.outputs))
            if operator.inputs[0] in known and flatbuffer.TENSOR_TYPES[source.type] == 'FLOAT32':
                found[flatbuffer.tensor_name(made)] = flatbuffer.tensor_name(source)
        known += operator.outputs
    several = collections.Counter(flatbuffer.tensor_name(graph.tensors[index]) for index in known)
    # A name of several tensors does not say which is meant.
    return {name: of for name, of in found.items() if several[name] == several[of] == 1}
