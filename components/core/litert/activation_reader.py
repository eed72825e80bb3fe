"""The values of a float file's activations while it runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import flatbuffer
from tfx_edge.components.core.litert.interpreter import MAX_BATCH_SIZE, LiteRTModel


class ActivationReader:
    """Runs a float file and reads all its float activations.

    Args:
      float_model: bytes of a float32 `.tflite` file.

    Raises:
      EdgeError: the file is damaged.
    """

    def __init__(self, float_model: bytes) -> None:
        self.model = LiteRTModel(float_model, preserve_all_tensors=True)
        self._indices = float_activations(float_model)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The activations of one invocation.

        Args:
          inputs: by signature input name, arrays of shape (batch, ...); the batch is run at once.

        Returns:
          By tensor name, float32 arrays as they lie in the runtime (the batch of a file with a fixed batch
          is filled up with copies of the last row).

        Raises:
          EdgeError: the inputs do not fit, or are more rows than run at once.
        """
        rows = max((len(values) for values in inputs.values()), default=0)
        if rows > (self.model.fixed_batch_size or MAX_BATCH_SIZE):
            raise EdgeError(f'a batch of {rows} rows cannot be read at once; give at most {MAX_BATCH_SIZE}.')
        self.model(inputs)
        return {name: self.model.interpreter.get_tensor(index) for name, index in self._indices.items()}


def activation_values(float_model: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The value of each float activation on one batch.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      inputs: by signature input name, arrays of shape (batch, ...), at most 8 rows.

    Returns:
      By tensor name, float32 arrays.

    Raises:
      EdgeError: the file is damaged or the inputs do not fit.

    Example:
      >>> activation_values(model, {'image': images[:8]})['dense/Relu'].shape
      (8, 32)
    """
    return ActivationReader(float_model)(inputs)


def float_activations(float_model: bytes) -> dict[str, int]:
    """Index in the main graph by name of each float32 tensor that is an input or computed, in order of execution."""
    content = flatbuffer.read(float_model)
    graph = content.subgraphs[0]
    computed = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    return {
        flatbuffer.tensor_name(graph.tensors[index]): index
        for index in computed
        if flatbuffer.TENSOR_TYPES[graph.tensors[index].type] == 'FLOAT32'
    }
