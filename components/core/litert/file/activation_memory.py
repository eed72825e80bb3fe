"""How much memory the activations of a file take at once."""

from __future__ import annotations

import math

from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile

_BITS = {'INT4': 4, 'FLOAT16': 16, 'INT16': 16, 'UINT16': 16, 'INT32': 32, 'UINT32': 32, 'FLOAT32': 32}
_BITS |= {'INT64': 64, 'UINT64': 64, 'FLOAT64': 64, 'COMPLEX64': 64, 'COMPLEX128': 128}
# Of tensors in a runtime's arena, in bytes.
_ALIGNMENT = 16


@damaged_file.damage_as_edge_error()
def peak_activation_bytes(model: bytes | ModelFile) -> int:
    """The most bytes that activations take while one example runs: the least that an arena needs.

    Each tensor of the main graph lives from the operator that computes it (inputs: from the start) to the last that
    reads it (outputs: to the end); while an operator runs, what it reads and what it computes live side by side. A
    runtime's arena is this large or larger: it may leave gaps, and kernels take room for themselves.

    Args:
      model: a `.tflite` file.

    Returns:
      Bytes, each tensor rounded up to 16; open dimensions count as 1.

    Raises:
      EdgeError: the bytes are no valid `.tflite` file.

    Example:
      >>> peak_activation_bytes(pathlib.Path('digits.tflite').read_bytes())
      8192
    """
    content = ModelFile.of(model).content
    graph = content.subgraphs[0]
    last = len(graph.operators)
    born = {int(index): 0 for index in graph.inputs}
    dies = {int(index): 0 for index in graph.inputs}
    for time, operator in enumerate(graph.operators, start=1):
        for index in map(int, operator.outputs):
            born.setdefault(index, time)
            dies[index] = max(time, dies.get(index, 0))
        for index in map(int, operator.inputs):
            if index in born:
                dies[index] = time
    dies.update((int(index), last) for index in graph.outputs if int(index) in born)
    alive = [0] * (last + 1)
    for index, first in born.items():
        tensor = graph.tensors[index]
        shape = tensor.shape if tensor.shape is not None else ()
        bits = _BITS.get(flatbuffer.TENSOR_TYPES[tensor.type], 8)
        size = math.ceil(math.prod(max(int(size), 1) for size in shape) * bits / 8)
        for time in range(first, dies[index] + 1):
            alive[time] += math.ceil(size / _ALIGNMENT) * _ALIGNMENT
    return max(alive)
