"""Operators that the interpreter of TensorFlow 2.16 does not load, and ai-edge-litert does.

Tried on TensorFlow 2.16.2, with XNNPACK and without: it refuses the whole file.
"""

from __future__ import annotations

import logging

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.file.operands import weighted_operators
from tfx_edge.components.core.litert.quantization.modes import MODES

_LOG = logging.getLogger(__name__)
# Operator, type of its kernel, type of what the kernel is multiplied with.
_REFUSED = {
    ('FULLY_CONNECTED', 'INT4', 'INT8'): 'int4 kernels and int8 activations',
    ('TRANSPOSE_CONV', 'INT8', 'FLOAT32'): 'int8 kernels and float activations',
}


def refused_by_tensorflow_2_16(model: bytes | ModelFile) -> dict[str, str]:
    """What TensorFlow 2.16's own interpreter does not load in a file.

    Args:
      model: a `.tflite` file.

    Returns:
      By operator, such as FULLY_CONNECTED, the types that it refuses; empty where none is known to be refused.

    Example:
      >>> refused_by_tensorflow_2_16(int4x8_file)
      {'FULLY_CONNECTED': 'int4 kernels and int8 activations (mode INT4X8)'}
    """
    content = ModelFile.of(model).content
    found = {}
    for graph in content.subgraphs:
        for product in weighted_operators(content, graph):
            tensors = (graph.tensors[index] for index in (product.kernel, product.source))
            kernel, source = (flatbuffer.TENSOR_TYPES[tensor.type] for tensor in tensors)
            why = _REFUSED.get((product.kind, kernel, source))
            if why is not None:
                found[product.kind] = f'{why} ({_modes_with(product.kind, kernel, source)})'
    return found


def _modes_with(operator: str, kernel: str, source: str) -> str:
    """The modes whose files have such an operator."""
    names = [row.name for row in MODES.values() if row.operand_types(operator) == (kernel, source)]
    return f'mode{"s" if len(names) > 1 else ""} {" and ".join(names)}'


def log_older_runtimes(model: bytes | ModelFile) -> None:
    """Logs the operators that keep TensorFlow 2.16 from loading a file.

    Args:
      model: a `.tflite` file, as it is shipped.
    """
    for name, why in refused_by_tensorflow_2_16(model).items():
        _LOG.info(
            "TensorFlow 2.16's own interpreter does not load the file: %s has %s. Run it with ai-edge-litert, or "
            'choose mode INT8 for runtimes of that age.',
            name,
            why,
        )
