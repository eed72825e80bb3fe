"""Runs a `.tflite` file without signatures, called like the runtime's own runner of a signature."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from tfx_edge.components.core.litert.file.file_signature import input_names, output_names


class TensorRunner:
    """The main graph of a file, by the names of `file_ends`.

    Args:
      interpreter: with the file, allocated.

    Example:
      >>> TensorRunner(interpreter)(image=images)['Softmax'].shape
      (8, 10)
    """

    def __init__(self, interpreter: litert.Interpreter) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._inputs = dict(zip(input_names([detail['name'] for detail in inputs]), inputs, strict=True))
        self._outputs = dict(zip(output_names([detail['name'] for detail in outputs]), outputs, strict=True))

    def get_input_details(self) -> dict[str, Any]:
        """The runtime's details of each input, by name."""
        return self._inputs

    def get_output_details(self) -> dict[str, Any]:
        """The runtime's details of each output, by name."""
        return self._outputs

    def __call__(self, **rows: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one batch: arrays by output name for arrays by input name, in the file's own types."""
        for name, values in rows.items():
            self._interpreter.resize_tensor_input(self._inputs[name]['index'], values.shape)
        self._interpreter.allocate_tensors()
        for name, values in rows.items():
            self._interpreter.set_tensor(self._inputs[name]['index'], values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(detail['index']) for name, detail in self._outputs.items()}
