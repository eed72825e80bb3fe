"""What `make golden` made of each net; reading it costs nothing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

FOLDER = pathlib.Path(__file__).parent
# Of each there are a SavedModel and a float file; of digits there are ranges and an int8 file too. Of tf_keras there is
# a SavedModel alone.
WITH_FLOAT_FILE = (
    'digits',
    'separable',
    'many_operators',
    'many_links',
    'small',
    'many_kinds',
    'two_headed',
    'logarithm',
    'masked',
    'added_masks',
    'unlike_columns',
    'selected',
)


def saved_model(name: str) -> pathlib.Path:
    return FOLDER / name / 'saved_model'


def float_model(name: str) -> bytes:
    """The SavedModel as float `.tflite`."""
    return (FOLDER / name / 'float.tflite').read_bytes()


def digits_ranges() -> Mapping[str, tuple[float, float]]:
    """Smallest and largest value of each activation of digits on the first 400 images that it was trained on."""
    limits = json.loads((FOLDER / 'digits' / 'ranges.json').read_text())
    return {name: (low, high) for name, (low, high) in limits.items()}


def digits_int8() -> bytes:
    """Digits with these ranges: integer arithmetic, float inputs and outputs."""
    return (FOLDER / 'digits' / 'int8.tflite').read_bytes()
