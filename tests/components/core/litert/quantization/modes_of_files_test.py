"""Every mode on every kind of model: a file that keeps its contract, runs, and answers as the float file does."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import canonical_form
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization import file_checks
from tfx_edge.components.core.litert.quantization.modes import MODES
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import make_file

pytestmark = pytest.mark.slow

# Largest difference of an output, as a share of the largest output of the float file.
TOLERANCE = {
    'FLOAT32': 0.0,
    'FLOAT16': 0.003,
    'INT16X8': 0.02,
    'INT8': 0.04,
    'DYNAMIC_INT8': 0.03,
    'DYNAMIC_INT4': 0.25,
    'INT4X8': 0.25,
}
KERNELS = {
    'FLOAT32': {'float32'},
    'FLOAT16': {'float16'},
    'INT16X8': {'int8'},
    'INT8': {'int8'},
    'DYNAMIC_INT8': {'int8'},
    'DYNAMIC_INT4': {'int4'},
    'INT4X8': {'int4'},
}
# What stays float where activations become integers: the operators that no engine makes integer.
STAYS_FLOAT = {
    'attention': {'NEG', 'SQUARED_DIFFERENCE'},
    'lstm': {'UNIDIRECTIONAL_SEQUENCE_LSTM'},
    'gru': {'WHILE'},
}
MODELS = ('convolutional', 'depthwise', 'dense', 'residual', 'attention', 'lstm', 'gru', 'two signatures')


@dataclasses.dataclass(frozen=True)
class _Model:
    float_file: bytes
    inputs: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], _Model]:
    """A function: the model of that name, untrained, with inputs and ranges; each is made once."""
    made: dict[str, _Model] = {}

    def get(name: str) -> _Model:
        if name not in made:
            made[name] = _make(name, tmp_path_factory.mktemp('modes') / 'saved_model')
        return made[name]

    return get


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', MODELS)
def test_mode_on_model(
    model: Callable[[str], _Model], name: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = model(name)
    options = QuantizationOptions(mode)
    made = make_file(case.float_file, options, case.ranges)
    summary, float_summary = inspect_model(made.model), inspect_model(case.float_file)
    with caplog.at_level(logging.WARNING):
        file_checks.check(
            summary, options, inputs=case.inputs, outputs=case.answers, float_summary=float_summary
        )
    answers = LiteRTModel(made.model)(case.inputs)
    for output, wanted in case.answers.items():
        assert np.abs(answers[output] - wanted).max() <= TOLERANCE[mode] * np.abs(wanted).max()
    assert made.reason
    dtypes = {kernel.dtype for kernel in summary.kernels}
    assert KERNELS[mode] <= dtypes
    if options.needs_ranges:
        stayed = {op.name for op in summary.float_ops if '/' not in op.output or name != 'gru'}
        assert stayed <= STAYS_FLOAT.get(name, set())
        for kind in stayed:
            assert kind in caplog.text
        assert dtypes <= {'int8', *KERNELS[mode], *(['float32'] if name == 'gru' else [])}


@pytest.mark.parametrize('io', ['INT8', 'UINT8'])
@pytest.mark.parametrize('mode', ['INT8', 'INT4X8'])
@pytest.mark.parametrize('name', ['depthwise', 'lstm', 'gru'])
def test_integer_inputs_and_outputs(model: Callable[[str], _Model], name: str, mode: str, io: str) -> None:
    case = model(name)
    file = make_file(case.float_file, QuantizationOptions(mode, io, engine='LITERT'), case.ranges).model
    summary = inspect_model(file)
    assert {*summary.inputs.values(), *summary.outputs.values()} == {io.lower()}
    answers = LiteRTModel(file)(case.inputs)
    for output, wanted in case.answers.items():
        assert np.abs(answers[output] - wanted).max() <= TOLERANCE[mode] * np.abs(wanted).max()


@pytest.mark.parametrize('mode', [mode for mode in MODES if mode != 'FLOAT32'])
def test_keep_float_works_in_every_mode(model: Callable[[str], _Model], mode: str) -> None:
    case = model('convolutional')
    float_ops = inspect_model(case.float_file).operators
    first = float_ops[0].output
    options = QuantizationOptions(mode, keep_float=(f'^{first}$',))
    file = make_file(case.float_file, options, case.ranges).model
    summary = inspect_model(file)
    kernel = {tensor.name: tensor.dtype for tensor in summary.kernels}
    assert kernel.pop(f'{first}/kernel') == 'float32'
    assert set(kernel.values()) == KERNELS[mode]
    if options.needs_ranges:
        assert [op.output for op in summary.float_ops] == [first]
    answers = LiteRTModel(file)(case.inputs)
    for output, wanted in case.answers.items():
        assert np.abs(answers[output] - wanted).max() <= TOLERANCE[mode] * np.abs(wanted).max()


def _make(name: str, folder: pathlib.Path) -> _Model:
    if name == 'two signatures':
        _save_two_signatures(folder)
        float_file = convert_saved_model(str(folder), 'embed')
    else:
        (_save_recurrent if name in ('lstm', 'gru') else _save)(name, folder)
        float_file = _converted(folder)
    runtime = LiteRTModel(float_file)
    random = np.random.default_rng(0)
    inputs = {
        key: random.normal(size=(8, *detail.shape[1:])).astype(np.float32)  # type: ignore[misc]
        for key, detail in runtime.inputs.items()
    }
    reader = ActivationReader(float_file)
    ranges: dict[str, tuple[float, float]] = {}
    for row in range(8):
        for tensor, values in reader({key: rows[row : row + 1] for key, rows in inputs.items()}).items():
            low, high = ranges.get(tensor, (np.inf, -np.inf))
            ranges[tensor] = min(low, float(values.min())), max(high, float(values.max()))
    return _Model(float_file, inputs, runtime(inputs), ranges)


def _converted(folder: pathlib.Path) -> bytes:
    """As `convert_saved_model` does, but in this process, which has TensorFlow already."""
    import tensorflow as tf

    converted = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    return canonical_form.canonical_form(converted, set())


def _save(name: str, folder: pathlib.Path) -> None:
    import keras
    from keras import layers

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name='x')
    x: Any = image
    if name == 'convolutional':
        x = layers.Conv2D(8, 3, activation='relu')(layers.Conv2D(8, 3, padding='same', activation='relu')(x))
        x = layers.MaxPool2D(2)(x)
    elif name == 'depthwise':
        x = layers.DepthwiseConv2D(3, padding='same')(layers.Conv2D(8, 3, strides=2, activation='relu6')(x))
        x = layers.Conv2D(8, 1)(layers.ReLU()(layers.BatchNormalization()(x)))
    elif name == 'residual':
        x = layers.Conv2D(8, 3, padding='same')(x)
        for _ in range(2):
            x = layers.ReLU()(layers.Add()([layers.Conv2D(8, 3, padding='same')(x), x]))
    elif name == 'attention':
        x = image = keras.Input((6, 16), name='x')
        x = layers.LayerNormalization()(layers.Add()([layers.MultiHeadAttention(2, 8)(x, x), x]))
        x = layers.Dense(16, activation='gelu')(x)
    else:
        x = image = keras.Input((16,), name='x')
        x = layers.Dense(32, activation='tanh')(layers.Dense(32, activation='relu')(x))
    keras.Model(image, layers.Dense(4)(layers.Flatten()(x))).export(folder, verbose=False)


def _save_recurrent(name: str, folder: pathlib.Path) -> None:
    """With a fixed batch, and by Keras 2: LiteRT has no kernel for what the others become."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input(batch_shape=(1, 6, 8), name='x')
    layer = layers.LSTM(8) if name == 'lstm' else layers.GRU(8)
    tf_keras.Model(x, layers.Dense(4)(layer(x))).save(folder, save_format='tf')


def _save_two_signatures(folder: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            random = np.random.default_rng(0)
            self.first = tf.Variable(random.normal(size=(16, 32)).astype(np.float32))
            self.second = tf.Variable(random.normal(size=(32, 4)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, 16), tf.float32, name='x')])
        def embed(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'embedding': tf.nn.relu(x @ self.first)}

        @tf.function(input_signature=[tf.TensorSpec((None, 16), tf.float32, name='x')])
        def classify(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'logits': tf.nn.relu(x @ self.first) @ self.second}

    net = Net()
    tf.saved_model.save(net, str(folder), signatures={'classify': net.classify, 'embed': net.embed})
