"""What each operator's quantization alone does to the outputs."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.inserted_names import without_quantized
from tfx_edge.components.core.litert.file.inspect import OperatorSummary, inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import litert_engine
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training.complete_ranges import CompleteRanges, complete_ranges
from tfx_edge.components.core.post_training.output_error import Reference, in_decibels

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OperatorSensitivity:
    """What happens when one operator is quantized, and all others stay float.

    Attributes:
      output: name of its first output tensor.
      operator: its name in the format, such as 'CONV_2D'; what is fused into it is part of it.
      snr_db: signal-to-noise ratio of the model's outputs; infinite when they do not change.
      weight_bytes_saved: how much smaller its constants become.
      boundary_bytes: how much larger the file becomes by the conversions to and from float around it.
    """

    output: str
    operator: str
    snr_db: float
    weight_bytes_saved: int
    boundary_bytes: int

    @property
    def noise(self) -> float:
        """Ratio of noise to signal in the outputs."""
        return 10 ** (-self.snr_db / 10)


def measure(
    float_model: bytes | ModelFile,
    options: QuantizationOptions,
    ranges: Mapping[str, tuple[float, float]] | None,
    samples: Mapping[str, np.ndarray],
) -> tuple[OperatorSensitivity, ...]:
    """Measures every operator that the options quantize.

    For each, a file in which it alone is quantized is made and run. The same arguments give the same result.

    Args:
      float_model: a float32 `.tflite` file.
      options: which file is meant to be made; what it keeps float is not measured. Inputs and outputs are
        measured as float.
      ranges: (minimum, maximum) by tensor name for modes with integer activations.
      samples: by signature input name, arrays of shape (rows, ...); 16 to 64 rows are enough.

    Returns:
      One entry for each operator, the worst first, equal ones in order of execution.

    Raises:
      EdgeError: nothing is quantized, a range is missing, or the samples do not fit.

    Example:
      >>> measure(model, QuantizationOptions('INT8'), ranges, {'image': images[:32]})[0]
      OperatorSensitivity(output='dense/MatMul', operator='FULLY_CONNECTED', snr_db=31.2, weight_bytes_saved=960, …)
    """
    if not options.row.quantizes:
        raise EdgeError(
            f'mode {options.mode} quantizes no operator; choose another mode to measure sensitivities.'
        )
    float_file = ModelFile.of(float_model)
    reference = Reference(float_file, samples)
    outputs = [op.output for op in inspect_model(float_file).operators if op.output]
    operators = _quantized_operators(float_file, options, ranges)
    completed = complete_ranges(float_file, options, ranges or {}) if options.needs_ranges else None
    _LOG.info('measuring what the quantization of each of %d operators does to the outputs', len(operators))
    written = ModelFile.of_content(float_file.content)
    measured = []
    for operator in operators:
        file = _only(operator.output, outputs, float_file, options, completed)
        saved = _constant_bytes(written) - _constant_bytes(file)
        # Where activations stay float, operators without weights do not change.
        if not saved and not options.needs_ranges:
            continue
        measured.append(
            OperatorSensitivity(
                output=operator.output,
                operator=operator.name,
                snr_db=in_decibels(reference.noise(file)),
                weight_bytes_saved=saved,
                boundary_bytes=len(file.data) - len(written.data) + saved,
            )
        )
    if not measured:
        raise EdgeError(
            f'mode {options.mode} with keep_float {list(options.keep_float)} quantizes no operator of the model, '
            'so there is nothing to measure; choose another mode, or keep less float.'
        )
    return tuple(sorted(measured, key=lambda entry: entry.snr_db))


def to_json(sensitivities: Sequence[OperatorSensitivity]) -> str:
    """The measured operators as a JSON list, in their order; an infinite signal-to-noise ratio is null.

    Args:
      sensitivities: what `measure` found.

    Returns:
      JSON; the same measurements give the same text.

    Example:
      >>> print(to_json(sensitivities))
      [
       {
        "output": "dense/MatMul",
        …
    """
    entries = [dataclasses.asdict(entry) for entry in sensitivities]
    for entry in entries:
        finite = math.isfinite(entry['snr_db'])
        entry['snr_db'] = round(entry['snr_db'], 4) if finite else None
    return json.dumps(entries, indent=1) + '\n'


def exactly(output: str) -> str:
    """The regular expression for `keep_float` that is found in this tensor name only."""
    return f'^{re.escape(output)}$'


def _quantized_operators(
    float_file: ModelFile, options: QuantizationOptions, ranges: Mapping[str, tuple[float, float]] | None
) -> list[OperatorSummary]:
    """The operators that may become integer operators under these options, in order of execution."""
    # The engine's scope of an operator holds its output names, each with a semicolon.
    kept = {scope.split(';')[0] for scope in litert_engine.kept_float(float_file.content, options.keep_float)}
    floats = [op for op in inspect_model(float_file).float_ops if op.output and op.output not in kept]
    if not options.needs_ranges:
        return floats
    quantized = inspect_model(quantized_file(float_file, options, ranges))
    integers = {without_quantized(op.output) for op in quantized.operators if op.integer}
    return [op for op in floats if op.output in integers]


def _only(
    output: str,
    outputs: Sequence[str],
    float_file: ModelFile,
    options: QuantizationOptions,
    completed: CompleteRanges | None,
) -> ModelFile:
    """A file in which only the operator with this first output is quantized, those of all other `outputs` are float."""
    kept = '|'.join(exactly(other) for other in outputs if other != output)
    # Inputs and outputs stay float, so that only the operator itself makes an error.
    changed = dataclasses.replace(options, io='FLOAT', keep_float=(kept,) if kept else ())
    if completed is None:
        return quantized_file(float_file, changed)
    return quantized_file(float_file, changed, completed.ranges, settled=completed.settled)


def _constant_bytes(file: ModelFile) -> int:
    return sum(len(buffer.data) for buffer in file.content.buffers if buffer.data is not None)
