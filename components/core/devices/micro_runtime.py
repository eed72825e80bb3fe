"""Answers of a file on the runtime of TensorFlow Lite Micro, built for this host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile

# An arena that is larger than the runtime recorded only costs memory.
_SPARE_BYTES = 2**20


class MicroInputs:
    """Examples as a file's input tensors take them, one after the other.

    Args:
      model: the file, as LiteRT has it.
      inputs: by input name, arrays of shape (rows, ...).

    Raises:
      EdgeError: an input is missing, has another shape or type, or the file takes several examples at once.

    Example:
      ```
      examples = MicroInputs(file, {'image': images})
      first = examples.answers(file.data, arena_bytes=tflite_micro.profile(file).arena_bytes)[0]
      ```
    """

    def __init__(self, model: ModelFile, inputs: Mapping[str, np.ndarray]) -> None:
        litert = LiteRTModel(model.data)
        if (litert.fixed_batch_size or 1) != 1:
            raise EdgeError(
                f'the .tflite file takes {litert.fixed_batch_size} examples at once; expected 1, as a '
                'microcontroller does. Export the model with an open batch dimension.'
            )
        ends, stored = file_ends(model.content), litert.stored(inputs)
        order = [int(index) for index in model.content.subgraphs[ends.subgraph].inputs]
        self._by_position = [
            stored[name] for index in order for name, tensor in ends.inputs.items() if tensor == index
        ]
        self.rows = min(len(values) for values in self._by_position)
        self._outputs = len(model.content.subgraphs[ends.subgraph].outputs)

    def answers(self, data: bytes, arena_bytes: int) -> list[list[np.ndarray]]:
        """Runs a file of these inputs, in this process, which a bad one may end.

        Args:
          data: bytes of a `.tflite` file for microcontrollers.
          arena_bytes: that the file needs, at least.

        Returns:
          The output tensors as they are stored, in order, for each row.

        Raises:
          RuntimeError: the runtime does not load or run the file.
        """
        from tflite_micro import runtime

        interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena_bytes + _SPARE_BYTES)
        found = []
        for row in range(self.rows):
            interpreter.reset()
            for position, values in enumerate(self._by_position):
                interpreter.set_input(np.ascontiguousarray(values[row : row + 1]), position)
            interpreter.invoke()
            found.append([np.array(interpreter.get_output(n)) for n in range(self._outputs)])
        return found
