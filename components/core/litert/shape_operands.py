"""SHAPE reads integers as well as floats: no need to dequantize for it."""

from __future__ import annotations

from tfx_edge.components.core.litert import flatbuffer


def read_quantized(model: flatbuffer.schema.ModelT) -> None:
    """Lets each SHAPE operator read the quantized tensor itself, and drops what only dequantized for it.

    Every Flatten or Reshape with an open batch dimension has such an operator; the engine leaves it on the float
    side, where integer-only devices cannot run it.

    Args:
      model: changed in place.
    """
    for graph in model.subgraphs:
        sources = {
            operator.outputs[0]: operator.inputs[0]
            for operator in graph.operators
            if flatbuffer.operator_name(model, operator) == 'DEQUANTIZE'
        }
        for operator in graph.operators:
            if flatbuffer.operator_name(model, operator) == 'SHAPE':
                operator.inputs = [sources.get(index, index) for index in operator.inputs]
        read = {*graph.outputs, *(index for operator in graph.operators for index in operator.inputs)}
        # The tensors stay, unused, so that indices keep their meaning.
        graph.operators = [
            operator
            for operator in graph.operators
            if not len(operator.outputs) or operator.outputs[0] not in sources or operator.outputs[0] in read
        ]
