"""The only module that calls litert-quantizer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# litert-quantizer 0.11 uses numpy.typing without importing it.
import numpy.typing
from litert_quantizer import qtyping
from litert_quantizer import quantizer as litert_quantizer

from tfx_edge.components.core.dense_scales import FULLY_CONNECTED, PER_TENSOR
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import shared_outputs
from tfx_edge.components.core.litert.quantization.modes import DYNAMIC, STATIC, WEIGHT_ONLY, Mode
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions

_EVERYTHING = qtyping.TFLOperationName.ALL_SUPPORTED
_FLOAT_FOREVER = litert_quantizer.AlgorithmName.NO_QUANTIZE
_ONE_FOR_EACH_CHANNEL = qtyping.QuantGranularity.CHANNELWISE
_ONE_IN_ALL = qtyping.QuantGranularity.TENSORWISE


def run(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    statistics: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> bytes:
    """Calls litert-quantizer.

    Args:
      float_model: a float32 `.tflite` file.
      options: mode and io.
      kept_float: scopes of operators that stay float, as the engine builds them.
      statistics: {'min': array, 'max': array} by tensor name: of activations, and of kernels whose range is given.

    Returns:
      The engine's file.

    Raises:
      EdgeError: the engine refuses the graph.
    """
    file = ModelFile.of(float_model)
    if not (options.needs_ranges and shared_outputs.shared_outputs(file.content)):
        return _quantized(file, options, kept_float, statistics)
    made = _if_possible(file, options, kept_float, statistics)
    if made is not None and shared_outputs.are_right(flatbuffer.parse(made), file.content, options.io):
        return made
    apart, copies = shared_outputs.kept_apart(file)
    known = {**(statistics or {})}
    known |= {own: known[name] for own, name in copies.items() if name in known}
    made = _quantized(apart, options, [*kept_float, *(f'{own};' for own in copies)], known)
    return shared_outputs.joined(made, copies)


def _if_possible(
    file: ModelFile,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    statistics: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> bytes | None:
    """The file; None where the engine refuses the graph, for which shared outputs may be the only cause."""
    try:
        return _quantized(file, options, kept_float, statistics)
    except EdgeError:
        return None


def _quantized(
    file: ModelFile,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    statistics: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> bytes:
    quantizer = litert_quantizer.Quantizer(bytearray(file.data))
    _configure(quantizer, options)
    if options.needs_ranges:
        kept_float = [*kept_float, *_nested(file.content)]
    if kept_float:
        pattern = '^(?:' + '|'.join(re.escape(scope) for scope in kept_float) + ')$'
        quantizer.update_quantization_recipe(pattern, _EVERYTHING, algorithm_key=_FLOAT_FOREVER)
    # The engine changes what it is given.
    copied: Any = statistics and {name: dict(entry) for name, entry in statistics.items()}
    try:
        with warnings.catch_warnings():
            # It opens interpreters of its own, which warn of the memory they take.
            warnings.simplefilter('ignore')
            result = quantizer.quantize(copied, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise EdgeError(
            f'litert-quantizer cannot make a file of mode {options.mode} of this model ({_one_line(error)}); '
            'keep the operators it names float with keep_float, or choose another mode.'
        ) from error
    return bytes(result.quantized_model)


def _configure(quantizer: litert_quantizer.Quantizer, options: QuantizationOptions) -> None:
    """Configures what becomes what; where the engine lacks a kernel, the configuration before holds."""
    configure = _CONFIGURES[options.row.arithmetic]
    for operator, bits in options.row.weight_bits.items():
        configure(quantizer, qtyping.TFLOperationName(operator), bits, options.row, _ONE_FOR_EACH_CHANNEL)
    if options.dense_scales == PER_TENSOR:
        bits = options.row.bits_of(FULLY_CONNECTED)
        configure(quantizer, qtyping.TFLOperationName.FULLY_CONNECTED, bits, options.row, _ONE_IN_ALL)
    if options.needs_ranges and options.io == 'FLOAT':
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            quantizer.update_quantization_recipe('.*', end, algorithm_key=_FLOAT_FOREVER)


def _configure_static(
    quantizer: litert_quantizer.Quantizer,
    operator: qtyping.TFLOperationName,
    bits: int,
    mode: Mode,
    granularity: qtyping.QuantGranularity,
) -> None:
    quantizer.add_static_config(
        '.*',
        operator,
        activation_num_bits=mode.activation_bits,
        weight_num_bits=bits,
        weight_granularity=granularity,
    )


def _configure_dynamic(
    quantizer: litert_quantizer.Quantizer,
    operator: qtyping.TFLOperationName,
    bits: int,
    mode: Mode,
    granularity: qtyping.QuantGranularity,
) -> None:
    quantizer.add_dynamic_config('.*', operator, num_bits=bits, granularity=granularity)


def _configure_weight_only(
    quantizer: litert_quantizer.Quantizer,
    operator: qtyping.TFLOperationName,
    bits: int,
    mode: Mode,
    granularity: qtyping.QuantGranularity,
) -> None:
    names = litert_quantizer.AlgorithmName
    algorithm = names.FLOAT_CASTING if mode.has_float16_weights else names.MIN_MAX_UNIFORM_QUANT
    quantizer.add_weight_only_config(
        '.*', operator, num_bits=bits, granularity=granularity, algorithm_key=algorithm
    )


# By `Mode.arithmetic`.
_CONFIGURES = {
    STATIC: _configure_static,
    DYNAMIC: _configure_dynamic,
    WEIGHT_ONLY: _configure_weight_only,
}


def _nested(content: flatbuffer.schema.ModelT) -> list[str]:
    """The scopes of all that stands in the body of a loop or a branch, whose activations cannot be calibrated."""
    scopes = []
    for graph in content.subgraphs[1:]:
        ends = [graph.inputs, graph.outputs]
        for indices in [*ends, *(operator.outputs for operator in graph.operators)]:
            scopes.append(''.join(f'{flatbuffer.tensor_name(graph.tensors[i])};' for i in indices if i >= 0))
    return [scope for scope in scopes if scope]


def entry(low: float, high: float) -> dict[str, np.ndarray]:
    """A range as the engine takes it: arrays of one float32."""
    return {'min': np.array([low], np.float32), 'max': np.array([high], np.float32)}


def is_kept(output: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns of `keep_float` is found in the name of an output tensor."""
    return any(re.search(pattern, output) for pattern in patterns)


def kept_float(content: flatbuffer.schema.ModelT, patterns: Sequence[str]) -> list[str]:
    """The scopes, as the engine builds them, of the operators that stay float."""
    scopes: list[str] = []
    found: set[str] = set()
    names: list[str] = []
    for graph in content.subgraphs:
        for operator in graph.operators:
            outputs = [flatbuffer.tensor_name(graph.tensors[i]) for i in operator.outputs]
            names += outputs
            matching = {p for p in patterns if any(re.search(p, name) for name in outputs)}
            found |= matching
            if matching:
                scopes.append(''.join(f'{name};' for name in outputs))
    for pattern in patterns:
        if pattern not in found:
            shown = ', '.join(name.split(';')[0] for name in names[:20])
            raise EdgeError(
                f'keep_float {pattern!r} is found in no tensor name of the model; name one of: {shown}.'
            )
    return scopes


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[-300:] or type(error).__name__
