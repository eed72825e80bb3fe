"""A range for every activation that becomes an integer, whichever of its neighbours stay float."""

from __future__ import annotations

from collections.abc import Mapping

from tfx_edge.components.core.litert import activations, live_ranges
from tfx_edge.components.core.litert.model_file import ModelFile
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions


def complete_ranges(
    float_model: bytes | ModelFile, options: QuantizationOptions, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """The ranges that a file takes, by name of every tensor and not only of those that decide.

    Where all is quantized, one tensor decides for a group that shares a scale, and a kernel may dictate a range. In a
    file where neighbours stay float, each of these tensors can need a range of its own.

    Args:
      float_model: a float32 `.tflite` file.
      options: a mode with integer activations.
      ranges: (minimum, maximum) by tensor name, with all that `quantize_model` needs.

    Returns:
      The same and more; ranges that had to be widened, which the log tells once, are widened.

    Raises:
      EdgeError: the engine cannot quantize the graph, or a range is not finite.

    Example:
      >>> complete_ranges(model, QuantizationOptions('INT8'), {'logits': (-9.1, 7.4)})
      {'logits': (-9.1, 7.4), 'probabilities': (0.0, 0.99609375)}
    """
    file = ModelFile.of(float_model)
    tensors = activations.quantized_activations(file, keep_float=options.keep_float, mode=options.mode)
    return {
        **ranges,
        **live_ranges.widened(file.content, tensors, ranges, options.mode),
    }
