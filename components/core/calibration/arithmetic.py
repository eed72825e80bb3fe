"""`arithmetic.json`: the arithmetic that a model was trained for, stored beside its `calibration.json`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfx_edge.components.core.dense_scales import DENSE_SCALES, PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError

FILE_NAME = 'arithmetic.json'
_FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class TrainedArithmetic:
    """The arithmetic that was trained for.

    Attributes:
      activation_bits: 8 or 16.
      kept_float: regular expressions that match the outputs of operators which stay float, for
        `QuantizationOptions.keep_float`.
      weight_bits: of each quantized kernel, by its tensor name in the float `.tflite`.
      dense_scales: PER_CHANNEL or PER_TENSOR, the scales of the kernels of fully connected layers.
    """

    activation_bits: int = 8
    kept_float: tuple[str, ...] = ()
    weight_bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dense_scales: str = PER_CHANNEL


def write_arithmetic(folder: str, arithmetic: TrainedArithmetic) -> None:
    """Writes the file; the same arithmetic gives the same bytes.

    Args:
      folder: of the calibration.
      arithmetic: what was trained for.

    Example:
      >>> write_arithmetic('/calibration/7', TrainedArithmetic(kept_float=('^dense/MatMul$',)))
    """
    content = {
        'format_version': _FORMAT_VERSION,
        'activation_bits': arithmetic.activation_bits,
        'keep_float': list(arithmetic.kept_float),
        'weight_bits': dict(arithmetic.weight_bits),
    }
    # Left out where it is the default, which files without it mean.
    if arithmetic.dense_scales != PER_CHANNEL:
        content['dense_scales'] = arithmetic.dense_scales
    with tf.io.gfile.GFile(os.path.join(folder, FILE_NAME), 'w') as file:
        file.write(json.dumps(content, indent=1, sort_keys=True) + '\n')


def read_arithmetic(folder: str) -> TrainedArithmetic | None:
    """Reads what `write_arithmetic` wrote.

    Args:
      folder: of a calibration.

    Returns:
      The arithmetic; None for a calibration without training, which has no such file.

    Raises:
      EdgeError: the file is damaged, or of another format.
    """
    path = os.path.join(folder, FILE_NAME)
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            return _parsed(json.loads(file.read()))
    except (AttributeError, KeyError, TypeError, ValueError, re.error, tf.errors.OpError) as error:
        raise EdgeError(
            f'{path} cannot be read as the arithmetic of a trained model ({error!r}); expected what QATTrainer '
            'writes. Run QATTrainer again.'
        ) from error


def _parsed(content: Any) -> TrainedArithmetic:
    if content['format_version'] != _FORMAT_VERSION:
        raise ValueError(f'format_version {content["format_version"]!r} instead of {_FORMAT_VERSION}')
    for pattern in content['keep_float']:
        re.compile(pattern)
    scales = content.get('dense_scales', PER_CHANNEL)
    if scales not in DENSE_SCALES:
        raise ValueError(f'dense_scales {scales!r}')
    return TrainedArithmetic(
        activation_bits=int(content['activation_bits']),
        kept_float=tuple(content['keep_float']),
        weight_bits={str(name): int(bits) for name, bits in content['weight_bits'].items()},
        dense_scales=scales,
    )
