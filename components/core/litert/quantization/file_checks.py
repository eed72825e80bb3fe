"""Checks that a `.tflite` file is what its signature and options promise."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from tfx_edge.components.core.dense_scales import FULLY_CONNECTED, PER_TENSOR
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer, inserted_names
from tfx_edge.components.core.litert.file.inspect import ModelSummary, inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

_LOG = logging.getLogger(__name__)

_IO_DTYPES = {'FLOAT': 'float32', 'INT8': 'int8', 'UINT8': 'uint8'}


def check(
    summary: ModelSummary,
    options: QuantizationOptions,
    *,
    inputs: Iterable[str],
    outputs: Iterable[str],
    float_summary: ModelSummary,
    require_full_integer: bool = False,
) -> None:
    """Checks names and types of inputs and outputs, and that a file with integer activations computes in integers.

    Of the other files no integers are promised: their activations are float, which some kernels turn into integers
    while running.

    Args:
      summary: of the file.
      options: what was asked for.
      inputs: input names of the SavedModel's signature.
      outputs: its output names.
      float_summary: of the float file that was quantized.
      require_full_integer: operators that stay float are an error, not a warning.

    Raises:
      EdgeError: the file is not what was promised.
    """
    _require_names('inputs', set(summary.inputs), set(inputs))
    _require_names('outputs', set(summary.outputs), set(outputs))
    _require_types(summary.inputs, float_summary.inputs, options.io)
    _require_types(summary.outputs, float_summary.outputs, options.io)
    if not options.needs_ranges:
        return
    _LOG.info('%.1f %% of the operators compute in integers', 100 * summary.integer_coverage)
    if not summary.float_ops:
        return
    stayed = ', '.join(f'{op.name} {op.output.split(";")[0]!r}' for op in summary.float_ops)
    if require_full_integer:
        raise EdgeError(
            f'{len(summary.float_ops)} operators stay float: {stayed}; require_full_integer allows none. '
            'Replace these layers, or leave require_full_integer unset.'
        )
    _LOG.warning('%d operators stay float: %s', len(summary.float_ops), stayed)


def check_file(
    model: bytes | ModelFile, float_model: bytes | ModelFile, options: QuantizationOptions
) -> None:
    """Checks that the file runs, keeps the float file's names, and has weights of the promised width and scales.

    Args:
      model: the file.
      float_model: the float file that was quantized.
      options: what was asked for.

    Raises:
      EdgeError: the file is not what was promised.
    """
    file, float_file = ModelFile.of(model), ModelFile.of(float_model)
    _require_runs(file.data, float_file.data, options)
    summary, float_summary = inspect_model(file), inspect_model(float_file)
    if summary.signature_name != float_summary.signature_name:
        raise EdgeError(
            f'the signature of the {options.mode} file is {summary.signature_name!r}, expected '
            f'{float_summary.signature_name!r}; choose another engine.'
        )
    _require_known_tensors(summary, float_summary)
    _require_widths(file.content, options)
    if options.dense_scales == PER_TENSOR:
        _require_one_dense_scale(file.content, options)


def _require_runs(model: bytes, float_model: bytes, options: QuantizationOptions) -> None:
    """Runs the file once, on zeros."""
    try:
        _run_on_zeros(model)
    except EdgeError as error:
        try:
            _run_on_zeros(float_model)
        except EdgeError:
            # The model does not run on zeros of the smallest size: only loading the file is checked.
            LiteRTModel(model)
            return
        reason = ' '.join(str(error.__cause__ or error).split())[-300:]
        raise EdgeError(
            f'the {options.mode} file does not run though the float file does ({reason}); '
            'keep the operator it names float with keep_float, or choose another mode or engine.'
        ) from error


def _run_on_zeros(model: bytes) -> None:
    runtime = LiteRTModel(model)
    batch = runtime.fixed_batch_size or 1
    runtime(
        {
            name: np.zeros((batch, *(1 if size is None else size for size in detail.shape[1:])), detail.dtype)
            for name, detail in runtime.inputs.items()
        }
    )


def _require_known_tensors(summary: ModelSummary, float_summary: ModelSummary) -> None:
    """Every computed tensor is named as in the float file, or after what an engine converted."""
    known = {tensor.name for tensor in float_summary.tensors}
    for tensor in summary.tensors:
        if not tensor.constant and inserted_names.origin(tensor.name, known) is None:
            raise EdgeError(
                f'the file computes a tensor {tensor.name!r} that the float file lacks, so that ranges and reports '
                'would miss it; choose another engine.'
            )


def _require_widths(content: flatbuffer.schema.ModelT, options: QuantizationOptions) -> None:
    """Every kernel of an operator that is not float has the promised type; the others are logged."""
    if not options.row.quantizes:
        return
    wide = []
    for graph in content.subgraphs:
        for index, kind in kernel_indices(content, graph).items():
            name = flatbuffer.tensor_name(graph.tensors[index])
            dtype = flatbuffer.TENSOR_TYPES[graph.tensors[index].type]
            promised = options.row.kernel_type(kind)
            if dtype == 'FLOAT32':
                wide.append(f'{kind} {name!r}')
            elif dtype != promised:
                raise EdgeError(
                    f'the kernel {name!r} of a {kind} is {dtype}, but mode {options.mode} promises {promised}; '
                    'choose another mode or engine.'
                )
    if wide:
        _LOG.info('%d kernels stay float: %s', len(wide), ', '.join(wide))


def _require_one_dense_scale(content: flatbuffer.schema.ModelT, options: QuantizationOptions) -> None:
    """No integer kernel of a fully connected layer has more than one scale."""
    for graph in content.subgraphs:
        for index, kind in kernel_indices(content, graph).items():
            tensor = graph.tensors[index]
            scales = tensor.quantization.scale if tensor.quantization is not None else None
            if kind == FULLY_CONNECTED and scales is not None and len(scales) > 1:
                raise EdgeError(
                    f'the kernel {flatbuffer.tensor_name(tensor)!r} of a {kind} has {len(scales)} scales, but '
                    f'dense_scales {options.dense_scales} promises one; set dense_scales to PER_CHANNEL, or choose '
                    'another engine.'
                )


def _require_names(what: str, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise EdgeError(
            f'the .tflite file has the {what} {sorted(found)}, but the signature {sorted(expected)}; '
            'give every input and output of the signature a use, and another name than the others.'
        )


def _require_types(found: Mapping[str, str], converted: Mapping[str, str], io: str) -> None:
    for name, dtype in found.items():
        expected = _IO_DTYPES[io] if converted[name] == 'float32' else converted[name]
        if dtype != expected:
            raise EdgeError(
                f'{name!r} of the .tflite file is {dtype}, expected {expected}; the operator there cannot be '
                f'quantized: set io to FLOAT.'
            )
