"""An operator that LiteRT computes otherwise than the simulation is named, stays float, and breaks nothing."""

from __future__ import annotations

import logging
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.components.qat_trainer.course import Course
from tests.golden import files
from tfx_edge import proto
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.post_training.fidelity import compare
from tfx_edge.components.core.qat.local_parity import producers_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def selu_net(digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    """SELU is one operator in TensorFlow and seven in the file, whose roundings the graph has no place for."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            layers.Conv2D(8, 3, padding='same', activation='selu'),
            layers.Conv2D(6, 3, padding='same', activation='relu'),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # XLA would take longer to compile than the training takes.
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(digits['x_train'], digits['y_train'], batch_size=64, epochs=2, verbose=0)
    folder = str(tmp_path_factory.mktemp('selu') / 'model')
    model.export(folder, verbose=False)
    return folder


def test_what_breaks_parity_stays_float_and_is_named(
    selu_net: str, digits: dict[str, np.ndarray], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    course = Course(selu_net, {'image': digits['x_train']}, tmp_path, steps=5)
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        course.train(proto.QuantizationAwareTraining())
    (warning,) = [message for message in caplog.messages if 'steps away from the simulation' in message]
    assert 'Selu' in warning
    assert 'Conv' not in warning.replace('conv2d', '')
    summary = inspect_model(course.file())
    inner = {operator.name for operator in summary.float_ops} - {'QUANTIZE', 'DEQUANTIZE'}
    assert 'EXP' in inner
    assert not inner & {'CONV_2D', 'FULLY_CONNECTED', 'MEAN'}
    parity = course.parity({'image': digits['x_eval']}, per_activation=True)
    assert parity.agreement is not None
    assert parity.agreement >= 0.995
    assert all(activation.within_2 >= 0.999 for activation in parity.activations)


def test_operators_behind_end_at_what_is_known(selu_net: str) -> None:
    model = convert_saved_model(selu_net, 'serving_default')
    outputs = [operator.output for operator in inspect_model(model).operators]
    convolutions = [o.output for o in inspect_model(model).operators if o.name == 'CONV_2D']
    last = outputs[outputs.index(convolutions[1]) - 1]
    behind = producers_of(model, last, convolutions)
    between = outputs[outputs.index(convolutions[0]) + 1 : outputs.index(convolutions[1])]
    assert len(behind) == len(between)
    assert not any(convolution in pattern for convolution in convolutions for pattern in behind)


def test_an_input_in_two_ranges_is_no_operator_to_keep_float(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SELECT_V2 reads the input in its own range, so the file holds that input twice."""
    x = np.random.default_rng(0).uniform(-1, 1, size=(256, 6)).astype(np.float32)
    x[::2] *= 100
    course = Course(str(files.saved_model('selected')), {'x': x}, tmp_path, steps=5)
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        course.train(proto.QuantizationAwareTraining())
    warnings = [message for message in caplog.messages if 'steps away from the simulation' in message]
    assert len(warnings) <= 1
    assert not any('serving_default_x' in message for message in warnings)
    serve = tf.saved_model.load(str(files.saved_model('selected'))).signatures['serving_default']
    expected = {'y': serve(x=tf.constant(x))['y'].numpy()}
    assert compare(expected, LiteRTModel(course.file())({'x': x})).db > 15
