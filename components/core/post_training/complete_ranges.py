"""A range for every activation that becomes an integer, whichever of its neighbours stay float."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import (
    kernel_ranges,
    litert_engine,
    minimum_ranges,
    quantized_activations,
)
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

Ranges = Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class CompleteRanges:
    """The ranges of all tensors of a file, not only of those that decide for a group.

    Attributes:
      ranges: (minimum, maximum) by tensor name, widened where the engine needs it.
      settled: the ranges of the tensors that become integer, if each of them keeps exactly this range in every file in
        which more operators stay float; None where that is not known beforehand.
    """

    ranges: Ranges
    settled: Ranges | None


def complete_ranges(
    float_model: bytes | ModelFile, options: QuantizationOptions, ranges: Ranges
) -> CompleteRanges:
    """The ranges that a file takes.

    Where all is quantized, one tensor decides for a group that shares a scale, and a kernel may dictate a range. In a
    file where neighbours stay float, each of these tensors can need a range of its own.

    Args:
      float_model: a float32 `.tflite` file.
      options: a mode with integer activations.
      ranges: (minimum, maximum) by tensor name, with all that `quantize_model` needs.

    Returns:
      The same and more; the ranges that had to be widened are logged once.

    Raises:
      EdgeError: the engine cannot quantize the graph, or a range is not finite.

    Example:
      >>> complete_ranges(model, QuantizationOptions('INT8'), {'logits': (-9.1, 7.4)}).ranges
      {'logits': (-9.1, 7.4), 'probabilities': (0.0, 0.99609375)}
    """
    file, mode = ModelFile.of(float_model), options.mode
    tensors = quantized_activations.quantized_activations(file, keep_float=options.keep_float, mode=mode)
    live = minimum_ranges.widened(file.content, tensors, ranges, mode)
    return CompleteRanges({**ranges, **live}, live if _is_settled(file, live, options) else None)


def _is_settled(file: ModelFile, live: Ranges, options: QuantizationOptions) -> bool:
    """Whether the ranges stay the same however tensors are grouped, and no kernel's range depends on its neighbours."""
    statistics = {name: litert_engine.entry(*limits) for name, limits in live.items()}
    if kernel_ranges.for_large_biases(file.content, statistics, options.mode, options.dense_scales):
        return False
    return minimum_ranges.are_wide_enough(file.content, live, options.mode)
