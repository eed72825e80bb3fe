"""Float `.tflite` files that the tests here share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.golden import files
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader


@pytest.fixture(scope='session')
def many_operators() -> tuple[bytes, dict[str, np.ndarray]]:
    """An untrained net with many kinds of operators and two outputs, as float `.tflite`, and inputs for it."""
    inputs = {'image': np.random.default_rng(0).normal(size=(24, 16, 16, 3)).astype(np.float32)}
    return files.float_model('many_operators'), inputs


@pytest.fixture(scope='session')
def observe() -> Callable[[bytes, Mapping[str, np.ndarray]], dict[str, tuple[float, float]]]:
    """A function: smallest and largest value of each activation of a float file on inputs."""
    return _observed_ranges


def _observed_ranges(model: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each activation."""
    reader = ActivationReader(model)
    ranges: dict[str, tuple[float, float]] = {}
    for row in range(len(next(iter(inputs.values())))):
        for name, values in reader({key: array[row : row + 1] for key, array in inputs.items()}).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges
