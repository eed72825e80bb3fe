"""Float `.tflite` in, quantized `.tflite` out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import (
    activations,
    engine,
    flatbuffer,
    io_types,
    shape_operands,
    weight_ranges,
)
from tfx_edge.components.core.litert.inspect import kernel_indices
from tfx_edge.components.core.litert.quantization_options import FLOAT16, FLOAT32, QuantizationOptions

_LOG = logging.getLogger(__name__)


def quantize_model(
    float_model: bytes, options: QuantizationOptions, ranges: Mapping[str, tuple[float, float]] | None = None
) -> bytes:
    """Quantizes a float file.

    Kernels are quantized per output channel, symmetric and narrow (-127 to 127), scale = max|w| / 127, as in
    Jacob et al., 2017 (arXiv:1712.05877) and the LiteRT quantization specification. Same arguments, same bytes.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      options: which file to make.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.

    Returns:
      The file's bytes.

    Raises:
      EdgeError: a weight is NaN, a range is missing, or the engine cannot quantize the graph.

    Example:
      >>> quantize_model(model, QuantizationOptions('INT8'), ranges)
    """
    content = flatbuffer.read(float_model)
    require_finite_weights(float_model, half=options.mode == FLOAT16)
    kept = engine.kept_float(content, options.keep_float)
    if options.mode == FLOAT32:
        return float_model
    statistics = None
    if options.needs_ranges:
        tensors = activations.quantized_activations(float_model, keep_float=options.keep_float)
        statistics = _statistics(tensors, ranges or {})
        statistics |= weight_ranges.for_large_biases(content, statistics)
    quantized = engine.run(float_model, options, kept, statistics)
    packed = flatbuffer.read(quantized)
    shape_operands.read_quantized(packed)
    if options.io == 'UINT8':
        io_types.make_uint8(packed)
    return flatbuffer.write(packed)


def require_finite_weights(float_model: bytes, *, half: bool = False) -> None:
    """Refuses weights that no file should hold.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      half: float16 must hold them too.

    Raises:
      EdgeError: a constant holds NaN, a kernel infinity, or (half) a constant a number beyond float16.
    """
    content = flatbuffer.read(float_model)
    for graph in content.subgraphs:
        kernels = kernel_indices(content, graph)
        for index, tensor in enumerate(graph.tensors):
            values = flatbuffer.constant(content, tensor)
            if values is None or not np.issubdtype(values.dtype, np.floating):
                continue
            name = flatbuffer.tensor_name(tensor).split(';')[0]
            # Infinity is what masks and the padding of a maximum are made of, but no kernel.
            if np.isnan(values).any() or (index in kernels and np.isinf(values).any()):
                held = 'NaN' if np.isnan(values).any() else 'infinity'
                raise EdgeError(
                    f'the weights {name!r} hold {held}; expected finite numbers. '
                    'Train the model again (a lower learning rate, or finite training data).'
                )
            finite = values[np.isfinite(values)]
            if half and len(finite) and np.abs(finite).max() > np.finfo(np.float16).max:
                raise EdgeError(
                    f'the weights {name!r} reach {np.abs(finite).max():g}, which float16 cannot hold (65504); '
                    'choose another mode.'
                )


def missing_ranges(
    float_model: bytes, options: QuantizationOptions, ranges: Mapping[str, tuple[float, float]]
) -> list[str]:
    """The tensors whose range the file needs and `ranges` lacks, sorted."""
    tensors = activations.quantized_activations(float_model, keep_float=options.keep_float)
    return _missing(tensors, ranges)


def _missing(
    tensors: Sequence[activations.ActivationTensor], ranges: Mapping[str, tuple[float, float]]
) -> list[str]:
    return sorted({t.group for t in tensors if t.fixed is None and t.group not in ranges})


def _statistics(
    tensors: Sequence[activations.ActivationTensor], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, np.ndarray]]:
    """The engine's statistics of the activations that become integers."""
    missing = _missing(tensors, ranges)
    if missing:
        first = missing[0].split(';')[0]
        raise EdgeError(
            f'the calibration has no range for tensor {first!r} ({len(missing)} missing); it belongs to another model, '
            'or to another export of it. Calibrate again: give examples, or run QATTrainer again.'
        )
    return {t.name: engine.entry(*(t.fixed or ranges[t.group])) for t in tensors}
