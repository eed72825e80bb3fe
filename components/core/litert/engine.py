"""litert-quantizer behind one door: the only file that calls it."""

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

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import flatbuffer
from tfx_edge.components.core.litert.quantization_options import DYNAMIC_INT8, INT8, QuantizationOptions


def run(
    float_model: bytes,
    options: QuantizationOptions,
    kept_float: Sequence[str],
    statistics: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> bytes:
    """Calls litert-quantizer.

    Args:
      float_model: bytes of a float32 `.tflite` file.
      options: mode and io.
      kept_float: scopes of operators that stay float, as the engine builds them.
      statistics: {'min': array, 'max': array} by tensor name; activations, and kernels where set by hand.

    Returns:
      The engine's file.

    Raises:
      EdgeError: the engine refuses the graph.
    """
    quantizer = litert_quantizer.Quantizer(bytearray(float_model))
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    if options.mode == INT8:
        quantizer.add_static_config('.*', everything, activation_num_bits=8, weight_num_bits=8)
    elif options.mode == DYNAMIC_INT8:
        quantizer.add_dynamic_config('.*', everything, num_bits=8)
    else:
        casting = litert_quantizer.AlgorithmName.FLOAT_CASTING
        quantizer.add_weight_only_config('.*', everything, num_bits=16, algorithm_key=casting)
    float_forever = litert_quantizer.AlgorithmName.NO_QUANTIZE
    if options.mode == INT8 and options.io == 'FLOAT':
        for operation in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            quantizer.update_quantization_recipe('.*', operation, algorithm_key=float_forever)
    for scope in kept_float:
        pattern = f'^{re.escape(scope)}$'
        quantizer.update_quantization_recipe(pattern, everything, algorithm_key=float_forever)
    # The engine changes what it is given.
    copied: Any = statistics and {name: dict(entry) for name, entry in statistics.items()}
    try:
        with warnings.catch_warnings():
            # It opens interpreters of its own, which warn of the memory they take.
            warnings.simplefilter('ignore')
            result = quantizer.quantize(copied, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise EdgeError(
            f'litert-quantizer cannot make a {options.mode} file of this model ({_one_line(error)}); '
            'keep the operators it names float with keep_float, or choose another mode.'
        ) from error
    return bytes(result.quantized_model)


def entry(low: float, high: float) -> dict[str, np.ndarray]:
    """A range as the engine takes it: arrays of one float32."""
    return {'min': np.array([low], np.float32), 'max': np.array([high], np.float32)}


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
