"""A small net with many kinds of integer activations, and `.tflite` files of it with chosen ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

Ranges = Mapping[str, tuple[float, float]]


@pytest.fixture(scope='session')
def as_float_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tf.Module], bytes]:
    """Makes the float file of a module's `serve`."""

    def make(module: tf.Module) -> bytes:
        folder = str(tmp_path_factory.mktemp('module') / 'model')
        tf.saved_model.save(module, folder, signatures=module.serve.get_concrete_function())
        return convert_saved_model(folder, 'serving_default')

    return make


@pytest.fixture(scope='session')
def float_net() -> bytes:
    """RELU6, a residual, pooling, a concatenation of large and small values, tanh, softmax; random weights."""
    return files.float_model('many_kinds')


@pytest.fixture(scope='session')
def images() -> np.ndarray:
    """Half of the pixels are exactly 1.0, the upper end of the range: a white background."""
    random = np.random.default_rng(1)
    drawn = random.uniform(size=(60, 8, 8, 1)).astype(np.float32)
    return np.where(random.uniform(size=drawn.shape) < 0.5, np.float32(1), drawn)


@pytest.fixture(scope='session')
def observe() -> Callable[[bytes, np.ndarray], Ranges]:
    return _observed


@pytest.fixture(scope='session')
def quantized(float_net: bytes) -> Callable[..., bytes]:
    """Quantizes the net with the ranges that some images give."""

    def make(images: np.ndarray, mode: str = 'INT8', io: str = 'FLOAT') -> bytes:
        ranges = _observed(float_net, images) if QuantizationOptions(mode).needs_ranges else None
        return quantize_model(float_net, QuantizationOptions(mode, io), ranges)

    return make


def _observed(model: bytes, images: np.ndarray) -> Ranges:
    """Smallest and largest value of each activation."""
    read = ActivationReader(model)
    ranges: dict[str, tuple[float, float]] = {}
    for image in images[:, np.newaxis]:
        for name, values in read({'image': image}).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return ranges
