"""The second engine: TensorFlow's converter quantizes a float file with given ranges, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.dense_scales import PER_TENSOR
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.integer_types import BOUNDS, narrow_bounds
from tfx_edge.components.core.isolation.isolated_process import ChildFailure, run_isolated
from tfx_edge.components.core.litert.file import canonical_form, flatbuffer
from tfx_edge.components.core.litert.file.inserted_names import origin
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import (
    converter_adapter,
    converter_output_names,
    copied_integers,
    finished_file,
)
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

# Modules that the server imports before it forks a process for `run_here`.
LOADED_BEFORE = ('tensorflow',)

# The lowest and the highest integer of activations.
_BOUNDS = {'INT8': BOUNDS['INT8'], 'INT16': narrow_bounds(16)}


def run(
    float_model: ModelFile,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
) -> ModelFile:
    """Calls the converter's quantizer in a process of its own, and runs the file there.

    The converter can abort its process, and the file that it makes can abort the process that loads it.

    Args:
      float_model: a float32 `.tflite` file.
      options: mode and io.
      kept_float: names of output tensors whose operators stay float.
      ranges: (minimum, maximum) by tensor name; an operator that lacks one may stay float.

    Returns:
      The finished file, its tensors named as in the float file.

    Raises:
      EdgeError: the converter refuses the graph, or the process dies of it.
    """
    try:
        return run_isolated(run_here, float_model, options, kept_float, ranges)
    except ChildFailure as error:
        raise EdgeError(
            f"TensorFlow's quantizer makes no {options.mode} file of this model that runs ({error.reason}); "
            'set engine to AUTO or LITERT, or choose another mode.'
        ) from error


def run_here(
    float_model: ModelFile,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
) -> ModelFile:
    """What `run` does in the other process; the same arguments and result."""
    calibrated = with_ranges(float_model, ranges)
    one_scale = options.dense_scales == PER_TENSOR
    if options.row.activation_bits == 16:
        quantized = converter_adapter.quantize_int16(calibrated, one_dense_scale=one_scale)
    else:
        quantized = converter_adapter.quantize_int8(
            calibrated, options.io != 'FLOAT', kept_float, one_dense_scale=one_scale
        )
    content = _as_ours(ModelFile(quantized), float_model.content)
    require_ranges_held(content, ranges)
    copied_integers.require_one_scale(content)
    return finished_file.finish(content, float_model, options)


def needed_ranges(content: flatbuffer.schema.ModelT) -> list[str]:
    """The float activations of a float model that something reads, in order of execution."""
    graph = content.subgraphs[0]
    read = {*map(int, graph.outputs), *(int(i) for operator in graph.operators for i in operator.inputs)}
    computed = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    return [
        flatbuffer.tensor_name(graph.tensors[index])
        for index in computed
        if int(index) in read and flatbuffer.TENSOR_TYPES[graph.tensors[index].type] == 'FLOAT32'
    ]


def with_ranges(float_model: bytes | ModelFile, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """The float file with ranges where the converter's own calibration writes them.

    Args:
      float_model: a float32 `.tflite` file.
      ranges: (minimum, maximum) by tensor name.

    Returns:
      The file's bytes.
    """
    content = ModelFile.of(float_model).changeable()
    for tensor in content.subgraphs[0].tensors:
        limits = ranges.get(flatbuffer.tensor_name(tensor))
        if limits is not None:
            tensor.quantization = flatbuffer.schema.QuantizationParametersT()
            tensor.quantization.min = np.array(limits[:1], np.float32)
            tensor.quantization.max = np.array(limits[1:], np.float32)
    return flatbuffer.write(content)


def require_ranges_held(
    quantized: flatbuffer.schema.ModelT, ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Refuses a file in which an activation cannot hold what was calibrated.

    The converter gives both sides of some operators (MINIMUM, say) the range of their output, and so cuts off values
    that another reader of the input needs.

    Args:
      quantized: a model whose tensors have the float file's names.
      ranges: (minimum, maximum) by tensor name.

    Raises:
      EdgeError: a range in the file is narrower, by more than two of its steps.
    """
    for tensor in quantized.subgraphs[0].tensors:
        name = origin(flatbuffer.tensor_name(tensor), ranges.keys())
        kind = flatbuffer.TENSOR_TYPES[tensor.type]
        scales = tensor.quantization.scale if tensor.quantization is not None else None
        if name is None or kind not in _BOUNDS or scales is None or len(scales) != 1:
            continue
        lowest, highest = _BOUNDS[kind]
        scale, zero_point = float(scales[0]), int(tensor.quantization.zeroPoint[0])
        low, high = ranges[name]
        if low < scale * (lowest - zero_point - 2) or high > scale * (highest - zero_point + 2):
            raise EdgeError(
                f"TensorFlow's quantizer gives tensor {name!r} the range {scale * (lowest - zero_point):g} to "
                f'{scale * (highest - zero_point):g}, but its values reach from {low:g} to {high:g}; '
                'set engine to AUTO or LITERT, or keep float what reads it.'
            )


def _as_ours(quantized: ModelFile, floats: flatbuffer.schema.ModelT) -> flatbuffer.schema.ModelT:
    """The file's content, in canonical form and with the names of the float file."""
    content = quantized.changeable()
    converter_output_names.strip_type(content, floats)
    # The converter adds an entry to those of the float file.
    content.metadata = list({entry.name: entry for entry in content.metadata or []}.values())
    canonical_form.bring_into_form(content, converter_output_names.activations(floats))
    converter_output_names.restore(content, floats)
    return content
