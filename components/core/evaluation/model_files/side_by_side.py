"""Compares the tensors and weights of two `.tflite` files, in a process of its own.

That process imports this module alone, which imports neither TensorFlow nor Beam: their import takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.evaluation.model_files.layer_errors import LayerError, layer_errors
from tfx_edge.components.core.evaluation.model_files.weight_histograms import (
    WeightHistogram,
    weight_histograms,
)
from tfx_edge.components.core.litert.file.model_file import ModelFile


def compare_insides(
    model: bytes, baseline: bytes, inputs: Mapping[str, np.ndarray], baseline_inputs: Mapping[str, np.ndarray]
) -> tuple[tuple[LayerError, ...], tuple[WeightHistogram, ...]]:
    """`layer_errors` and `weight_histograms` of two files.

    Args:
      model: bytes of the candidate's `.tflite` file.
      baseline: bytes of the baseline's.
      inputs: features of a few examples, by input name of the candidate.
      baseline_inputs: the same by input name of the baseline.

    Returns:
      The errors of the tensors that both have, and histograms of the kernels that both have.

    Example:
      >>> layers, weights = run_isolated(compare_insides, model, float_model, inputs, inputs)
    """
    ours, theirs = ModelFile.of(model), ModelFile.of(baseline)
    return layer_errors(ours, theirs, inputs, baseline_inputs), weight_histograms(ours, theirs)
