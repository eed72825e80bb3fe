"""`proto.Quantization` as the options of `core`, each value checked."""

from __future__ import annotations

import dataclasses

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.quantization_options import INT8, IO_TYPES, MODES, QuantizationOptions
from tfx_edge.components.exec_properties import require, require_patterns, require_supported


@dataclasses.dataclass(frozen=True)
class QuantizerOptions:
    """What TFLiteQuantizer was asked for.

    Attributes:
      quantization: which file to make.
      max_calibration_examples: examples used for calibration at most.
      calibration_splits: names of the splits they come from.
      require_full_integer: operators that stay float are an error.
    """

    quantization: QuantizationOptions
    max_calibration_examples: int
    calibration_splits: tuple[str, ...]
    require_full_integer: bool


def quantizer_options(message: proto.Quantization) -> QuantizerOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, not supported by this version, or without effect beside the others.
    """
    mode = require_supported(message, 'mode', MODES)
    io = require_supported(message, 'io', IO_TYPES)
    require_supported(message, 'range_method', ['MIN_MAX'])
    require_supported(message, 'engine', ['AUTO', 'LITERT'])
    if message.HasField('percentile'):
        raise EdgeError(
            'Quantization.percentile has a meaning with range_method PERCENTILE only; leave it unset.'
        )
    keep_float = require_patterns(message, 'keep_float')
    if mode != INT8 and io != 'FLOAT':
        raise EdgeError(
            f'Quantization.io is {io}, but with mode {mode} activations are float; set mode to INT8, or io to FLOAT.'
        )
    if mode == 'FLOAT32' and keep_float:
        raise EdgeError('Quantization.keep_float has no effect with mode FLOAT32; leave it unset.')
    if message.require_full_integer and (mode != INT8 or keep_float):
        beside = f'mode {mode}' if mode != INT8 else 'keep_float'
        raise EdgeError(
            f'Quantization.require_full_integer cannot hold with {beside}; leave one of the two unset.'
        )
    splits = require(message, 'calibration_splits', lambda names: all(names), 'names of splits')
    return QuantizerOptions(
        quantization=QuantizationOptions(mode, io, keep_float),
        max_calibration_examples=require(message, 'max_calibration_examples', lambda n: n > 0, '1 or more'),
        calibration_splits=tuple(dict.fromkeys(splits)) or ('train',),
        require_full_integer=message.require_full_integer,
    )


def require_ranges(options: QuantizerOptions, *, given: bool) -> None:
    """Refuses a mode with integer activations where nothing tells their ranges.

    Args:
      options: what was asked for.
      given: examples or a calibration are there.

    Raises:
      EdgeError: they are needed and not there.
    """
    if options.quantization.needs_ranges and not given:
        raise EdgeError(
            f'Quantization.mode {options.quantization.mode} needs the ranges of activations; give examples to '
            'calibrate on, or the calibration of a QATTrainer, or set mode to DYNAMIC_INT8.'
        )
