"""Float `.tflite` files that the tests here share."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tfx_edge.components.core.litert.activation_reader import ActivationReader
from tfx_edge.components.core.litert.convert import convert_saved_model

Ranges = Mapping[str, tuple[float, float]]


@pytest.fixture(scope='session')
def digits_float(digits_saved_model: pathlib.Path) -> bytes:
    """The digits net as float `.tflite`."""
    return convert_saved_model(str(digits_saved_model), 'serving_default')


@pytest.fixture(scope='session')
def digits_ranges(digits_float: bytes, digits: dict[str, np.ndarray]) -> Ranges:
    """Ranges of the digits net's activations on 256 training images."""
    return _observed_ranges(digits_float, {'image': digits['x_train'][:256]})


@pytest.fixture(scope='session')
def many_operators(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, np.ndarray]]:
    """An untrained net with many kinds of operators and two outputs, as float `.tflite`, and inputs for it."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3), name='image')
    x = layers.Conv2D(8, 3, padding='same', activation='relu6', name='stem')(image)
    a = layers.Conv2D(8, 3, padding='same', name='left')(x)
    b = layers.SeparableConv2D(8, 3, padding='same', activation='relu', name='right')(x)
    x = layers.Concatenate(name='both')([layers.Add()([a, b]), a])
    x = layers.AveragePooling2D(2)(layers.MaxPool2D(2)(x))
    x = layers.Multiply()([x, layers.Activation('sigmoid', name='gate')(x)])
    x = layers.UpSampling2D(interpolation='bilinear')(layers.Activation('tanh', name='squash')(x))
    x = layers.LeakyReLU(name='leaky')(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding='same')(x)
    x = layers.Dense(16, activation='gelu')(layers.Reshape((-1,))(layers.Permute((3, 1, 2))(x)))
    probs = layers.Dense(5, activation='softmax', name='probs')(x)
    box = layers.Dense(2, name='box')(x)
    model = keras.Model(image, {'probs': probs, 'box': box})
    folder = tmp_path_factory.mktemp('many_operators') / 'saved_model'
    model.export(folder, verbose=False)
    inputs = {'image': np.random.default_rng(0).normal(size=(24, 16, 16, 3)).astype(np.float32)}
    return convert_saved_model(str(folder), 'serving_default'), inputs


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
