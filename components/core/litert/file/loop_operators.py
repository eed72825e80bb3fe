"""Whether a `.tflite` file computes a sequence step after step, or has an operator that does."""

from __future__ import annotations

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

_LOOPS = (
    'WHILE',
    'RNN',
    'LSTM',
    'UNIDIRECTIONAL_SEQUENCE_LSTM',
    'UNIDIRECTIONAL_SEQUENCE_RNN',
    'BIDIRECTIONAL_SEQUENCE_LSTM',
    'BIDIRECTIONAL_SEQUENCE_RNN',
)


def has_loops(model: bytes | ModelFile) -> bool:
    """Whether a file has loops, or operators that LiteRT runs as loops.

    Example:
      >>> has_loops(convert_saved_model('/models/lstm_of_keras_3', 'serving_default'))
      False
    """
    content = ModelFile.of(model).content
    return any(
        flatbuffer.operator_name(content, operator) in _LOOPS
        for graph in content.subgraphs
        for operator in graph.operators
    )
