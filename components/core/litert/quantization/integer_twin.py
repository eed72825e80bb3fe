"""The int8 file of a float one, for what that costs on a device: nobody asks for its answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.litert.file.activation_reader import activation_ranges
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import make_file

_MOST_ROWS = 256


def integer_twin(model: ModelFile, inputs: Mapping[str, np.ndarray], io: str) -> ModelFile:
    """Quantizes a float file with the ranges of a few examples; one that has integers already is its own twin.

    Native code runs in this process, which a bad file may end.

    Args:
      model: a `.tflite` file.
      inputs: of the examples, by input name, arrays of shape (rows, ...).
      io: the type of the twin's inputs and outputs: FLOAT, INT8 or UINT8.

    Returns:
      The twin.

    Raises:
      EdgeError: the file cannot be quantized.

    Example:
      ```
      twin = integer_twin(ModelFile.of(float_file), {'image': images}, 'FLOAT')
      ```
    """
    if any(kernel.dtype == 'int8' for kernel in inspect_model(model).kernels):
        return model
    ranges = activation_ranges(model, [inputs], _MOST_ROWS)
    return make_file(model, QuantizationOptions('INT8', io=io), ranges).file
