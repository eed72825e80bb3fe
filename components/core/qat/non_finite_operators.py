"""Operators that fill in NaN and infinities of the examples, which no integer can stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from tfx_edge.components.core.calibration.non_finite import NonFinite, operators_to_keep_float
from tfx_edge.components.core.errors import EdgeError, NotFiniteError
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.model_file import ModelFile

# Rows that LiteRT runs at once.
_ROWS = 8


def non_finite_operators(
    float_model: ModelFile, batch: Mapping[str, np.ndarray] | None, inputs: Collection[str]
) -> tuple[str, ...]:
    """The operators that handle such values, to be kept float; the log names them.

    Args:
      float_model: the incoming model as float `.tflite`.
      batch: of `comparison_batch`, whose first rows hold such values where examples do; None without examples.
      inputs: features that are the model's inputs.

    Returns:
      Regular expressions on names of their outputs.

    Raises:
      NotFiniteError: nothing in the model handles them.

    Example:
      >>> non_finite_operators(model, {'x': np.array([[np.nan]])}, ['x'])
      ('^IsNan$', '^SelectV2$')
    """
    if batch is None or all(np.isfinite(batch[name][:_ROWS]).all() for name in inputs):
        return ()
    read = ActivationReader(float_model)
    seen: dict[str, NonFinite] = {}
    for name, values in read.views({name: batch[name][:_ROWS] for name in inputs}):
        if not np.isfinite(values).all():
            seen[name] = NonFinite(0, bool(np.isnan(values).any()), None)
    try:
        return operators_to_keep_float(float_model, seen, 0)
    except EdgeError as error:
        raise NotFiniteError(f'nothing in the model handles that; {error}') from error
