"""The values of a quantized file's integer tensors after one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.litert.file import inserted_names
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile


def integer_tensors(
    file: bytes | ModelFile, inputs: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, tuple[np.ndarray, float]]:
    """Real values and step of those tensors that have one scale, after one run in the built-in kernels.

    Args:
      file: a quantized `.tflite` file with float inputs and outputs.
      inputs: by signature input name, arrays of shape (batch, ...), at most 8 rows.
      names: of tensors.

    Returns:
      By name, float32 values and the step; tensors that are no integers are left out.

    Example:
      >>> values, step = integer_tensors(file, {'image': images[:8]}, ['dense/Relu'])['dense/Relu']
    """
    model = LiteRTModel(ModelFile.of(file).data, preserve_all_tensors=True)
    model(inputs)
    details: dict[str, Any] = {}
    for detail in model.interpreter.get_tensor_details():
        # A tensor that operators need in several ranges is there once for each; the widest holds all its values.
        other = details.setdefault(detail['name'], detail)
        if detail['quantization'][0] > other['quantization'][0]:
            details[detail['name']] = detail
    found = {}
    for name in names:
        # What quantizes a float tensor is named after it.
        detail = details.get(name + inserted_names.QUANTIZED) or details.get(name)
        if detail is not None and detail['quantization'][0]:
            step, zero_point = detail['quantization']
            integers = model.interpreter.get_tensor(detail['index']).astype(np.float32)
            found[name] = ((integers - zero_point) * step, float(step))
    return found
