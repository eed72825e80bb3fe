"""A small net with many kinds of integer activations, and `.tflite` files of it with chosen ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.quantize import QuantizationOptions, quantize_model

Ranges = Mapping[str, tuple[float, float]]


class ManyKinds(tf.Module):
    """RELU6, a residual, pooling, a concatenation of large and small values, tanh, softmax; random weights."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.stem = tf.Variable(random.normal(0, 3, (3, 3, 1, 8)).astype(np.float32))
        self.inner = tf.Variable(random.normal(0, 0.3, (3, 3, 8, 8)).astype(np.float32))
        self.head = tf.Variable(random.normal(0, 0.3, (16, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name='image')])
    def serve(self, image):
        stem = tf.nn.relu6(tf.nn.conv2d(image, self.stem, 1, 'SAME'))
        inner = tf.nn.relu(tf.nn.conv2d(stem, self.inner, 1, 'SAME'))
        pooled = tf.nn.max_pool2d(stem + inner, 2, 2, 'VALID')
        large = tf.reduce_mean(pooled, axis=(1, 2))
        both = tf.concat([large, 0.01 * large], axis=1)
        return {'probabilities': tf.nn.softmax(tf.tanh(both @ self.head))}


@pytest.fixture(scope='session')
def as_float_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tf.Module], bytes]:
    """Makes the float file of a module's `serve`."""

    def make(module: tf.Module) -> bytes:
        folder = str(tmp_path_factory.mktemp('module') / 'model')
        tf.saved_model.save(module, folder, signatures=module.serve.get_concrete_function())
        return convert_saved_model(folder, 'serving_default')

    return make


@pytest.fixture(scope='session')
def float_net(as_float_model: Callable[[tf.Module], bytes]) -> bytes:
    return as_float_model(ManyKinds())


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
