"""SavedModels become float files."""

from __future__ import annotations

import logging
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests.golden.likeness import assert_same_but_for_rounding
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_reader import float_activations
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow


def _export_module(folder: pathlib.Path, weights: np.ndarray) -> str:
    """A plain tf.Module with two signatures, two inputs and two layers of the same name."""
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(weights)
            self.bias = tf.Variable(weights[0])

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='features')])
        def score(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
            hidden = tf.nn.relu(tf.matmul(features, self.kernel) + self.bias)
            return {'score': tf.matmul(hidden, self.kernel) + self.bias, 'hidden': hidden}

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='other')])
        def double(self, other: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'doubled': other * 2.0}

    net = Net()
    tf.saved_model.save(net, str(folder), signatures={'score': net.score, 'double': net.double})
    return str(folder)


def test_file_has_the_names_of_the_signature(tmp_path: pathlib.Path) -> None:
    folder = _export_module(tmp_path / 'model', np.eye(4, dtype=np.float32))
    model = LiteRTModel(convert_saved_model(folder, 'score'))
    assert model.signature_name == 'score'
    assert list(model.inputs) == ['features']
    assert list(model.outputs) == ['hidden', 'score']
    np.testing.assert_allclose(model({'features': np.full((3, 4), 2, np.float32)})['hidden'][0], [3, 2, 2, 2])


def test_same_model_elsewhere_gives_the_same_bytes(
    digits_float: bytes, digits_saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    elsewhere = shutil.copytree(digits_saved_model, tmp_path / 'another' / 'place')
    made = convert_saved_model(str(elsewhere), 'serving_default')
    assert made == convert_saved_model(str(digits_saved_model), 'serving_default')
    assert_same_but_for_rounding(made, digits_float)
    assert str(elsewhere).encode() not in made


def test_names_are_unique_and_do_not_depend_on_the_weights(tmp_path: pathlib.Path) -> None:
    """Calibration finds its tensors after another training: the converter's own names change with the weights."""
    import keras
    from keras import layers

    image = keras.Input((8, 8, 1), name='image')
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(image)))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3)(x)))
    x = layers.Add()([x, layers.Conv2D(4, 1, activation='relu')(x)])
    x = layers.Dense(4)(layers.Dense(4, activation='relu')(layers.Flatten()(x)))
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    names = []
    for kind in ('random', 'no bias', 'all equal'):
        for weight in model.weights:
            values = rng.uniform(0.1, 1, weight.shape)
            if kind == 'all equal' or (kind == 'no bias' and weight.name in ('beta', 'bias', 'moving_mean')):
                values[:] = float(kind == 'all equal')
            weight.assign(values)
        model.export(tmp_path / kind, verbose=False)
        file = convert_saved_model(str(tmp_path / kind), 'serving_default')
        names.append(list(float_activations(file)))
        everything = [flatbuffer.tensor_name(t) for t in flatbuffer.read(file).subgraphs[0].tensors]
        assert len(set(everything)) == len(everything)
    assert names[0] == names[1] == names[2]


def test_buffers_are_aligned_as_the_format_asks(digits_float: bytes) -> None:
    root = flatbuffer.schema.Model.GetRootAs(bytearray(digits_float))
    buffers = [root.Buffers(i) for i in range(root.BuffersLength())]
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert starts
    assert all(start % 16 == 0 for start in starts)


def test_operator_without_kernel_is_named(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return {'inverse': tf.linalg.inv(x)}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    with pytest.raises(EdgeError, match='MatrixInverse') as raised:
        convert_saved_model(str(tmp_path / 'model'), 'serving_default')
    assert '\n' not in str(raised.value)


def test_keras_model_behind_tf_saved_model_save_converts(tmp_path: pathlib.Path) -> None:
    """The converter loses its variables: its process aborts (2.16), or the file answers NaN (2.21)."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    signature = tf.function(
        lambda b, a: {'small': model(a), 'large': tf.concat([model(a), b], axis=1)}
    ).get_concrete_function(
        tf.TensorSpec((None, 3), tf.float32, name='b'), tf.TensorSpec((None, 4), tf.float32, name='a')
    )
    tf.saved_model.save(model, str(tmp_path / 'model'), signatures={'serving_default': signature})
    converted = LiteRTModel(convert_saved_model(str(tmp_path / 'model'), 'serving_default'))
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    answered = converted({'a': a, 'b': b})
    np.testing.assert_allclose(answered['small'], np.asarray(model(a)), atol=1e-5)
    np.testing.assert_allclose(answered['large'], np.concatenate([model(a), b], axis=1), atol=1e-5)


def test_model_with_state_is_refused(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            self.sum = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'sum': self.sum.assign_add(x)}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    with pytest.raises(EdgeError, match='cannot be converted') as raised:
        convert_saved_model(str(tmp_path / 'model'), 'serving_default')
    assert '\n' not in str(raised.value)


def test_folder_without_a_model_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        EdgeError, match=r'holds no saved_model\.pb; .* Export the model as a SavedModel'
    ) as raised:
        convert_saved_model(str(tmp_path), 'serving_default')
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('kind', ['float64', 'float16', 'bfloat16'])
def test_other_types_are_computed_in_float32(
    kind: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a loop too, whose body is a function."""
    import tensorflow as tf

    weights = np.random.default_rng(0).normal(0, 0.5, (4, 4)).astype(np.float32)

    class Net(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(tf.cast(weights, kind))

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            h = tf.while_loop(
                lambda i, h: i < 3,
                lambda i, h: (i + 1, tf.nn.relu(h @ self.kernel)),
                (tf.constant(0), tf.cast(x, kind)),
            )[1]
            return {'y': tf.cast(tf.nn.relu(h @ self.kernel), tf.float32)}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        model = LiteRTModel(convert_saved_model(str(tmp_path / 'model'), 'serving_default'))
    assert [message for message in caplog.messages if f'computes in {kind}, which LiteRT does not' in message]
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    assert {detail.dtype for detail in (*model.inputs.values(), *model.outputs.values())} == {np.dtype('f4')}
    expected = x
    for _ in range(4):
        expected = np.maximum(expected @ np.asarray(net.kernel).astype(np.float32), 0)
    np.testing.assert_allclose(model({'x': x})['y'], expected, atol=1e-5)


def test_an_operator_of_another_type_without_kernel_is_named_with_its_type(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4), tf.float64, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'inverse': tf.linalg.inv(2.0 * x)}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    with pytest.raises(EdgeError, match=r'LiteRT has no kernel for MatrixInverse \(of type float64\)'):
        convert_saved_model(str(tmp_path / 'model'), 'serving_default')


def test_a_model_that_draws_random_numbers_is_reported(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.nn.dropout(x, 0.3)}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        convert_saved_model(str(tmp_path / 'model'), 'serving_default')
    (message,) = caplog.messages
    assert re.search(r"draws random numbers \(RANDOM_UNIFORM '[^']*dropout[^']*'\).*training=False", message)
