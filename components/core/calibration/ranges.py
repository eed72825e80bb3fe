"""`calibration.json`: the ranges of a model's activations, by the tensor names of its float `.tflite`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError

FILE_NAME = 'calibration.json'
_FORMAT_VERSION = 1


def write_ranges(path: str, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Writes ranges; the same ranges give the same bytes.

    Args:
      path: of the file.
      ranges: (minimum, maximum) by tensor name; empty for a file without integer activations.

    Raises:
      EdgeError: a range is not two finite numbers in order.

    Example:
      >>> write_ranges('/calibration/7/calibration.json', {'image': (0.0, 1.0)})
    """
    for name, (low, high) in ranges.items():
        _require_range(name, low, high, path)
    tensors = {name: {'min': float(low), 'max': float(high)} for name, (low, high) in ranges.items()}
    content = {'format_version': _FORMAT_VERSION, 'tensors': tensors}
    with tf.io.gfile.GFile(path, 'w') as file:
        file.write(json.dumps(content, indent=1, sort_keys=True) + '\n')


def read_ranges(path: str) -> dict[str, tuple[float, float]]:
    """Reads what `write_ranges` wrote.

    Args:
      path: of the file.

    Returns:
      (minimum, maximum) by tensor name.

    Raises:
      EdgeError: there is no such file, or it is damaged, or of another format.
    """
    try:
        with tf.io.gfile.GFile(path) as file:
            content: Any = json.loads(file.read())
    except tf.errors.NotFoundError:
        raise EdgeError(
            f'{path} does not exist; expected the ranges that QATTrainer or TFLiteQuantizer writes. '
            'Run the step that makes the calibration again.'
        ) from None
    except (ValueError, tf.errors.OpError) as error:
        raise EdgeError(
            f'{path} cannot be read as calibration ranges ({error}); run the step that wrote it again.'
        ) from error
    version = content.get('format_version') if isinstance(content, dict) else None
    if version != _FORMAT_VERSION:
        raise EdgeError(
            f'{path} has format_version {version!r}; this version of tfx-edge reads {_FORMAT_VERSION}. '
            'Make the calibration again.'
        )
    try:
        ranges = {name: (float(r['min']), float(r['max'])) for name, r in content['tensors'].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EdgeError(
            f'{path} holds no ranges by tensor name ({error!r}); run the step that wrote it again.'
        ) from error
    for name, (low, high) in ranges.items():
        _require_range(name, low, high, path)
    return ranges


def _require_range(name: str, low: float, high: float, path: str) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise EdgeError(
            f'the range of tensor {name!r} in {path} is ({low}, {high}); '
            'expected two finite numbers, the minimum first. Calibrate again.'
        )
