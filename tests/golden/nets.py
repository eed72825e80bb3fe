"""The nets that the tests start from; `make golden` exports each into the folder of its name."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests import digits as data


def digits(folder: pathlib.Path) -> None:
    """Convolution, depthwise convolution, both with batch norm and relu, strided convolution, dense; trained."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            layers.Conv2D(16, 3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, padding='same', activation='relu'),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32, activation='relu'),
            layers.Dense(10, activation='softmax'),
        ]
    )
    _train(model, epochs=25)
    model.export(folder, verbose=False)


def tf_keras(folder: pathlib.Path) -> None:
    """A save of Keras 2: batch norm behind a convolution, a depthwise convolution and a dense layer; dropout, Adam."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1), name='image'),
            layers.Conv2D(8, 3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(32),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(10, activation='softmax'),
        ]
    )
    arrays = data.load()
    model.compile(tf_keras.optimizers.Adam(3e-3), 'sparse_categorical_crossentropy')
    model.fit(arrays['x_train'], arrays['y_train'], batch_size=32, epochs=2, verbose=0)
    model.save(folder)


def separable(folder: pathlib.Path) -> None:
    """Depthwise separable convolutions, trained on digits; layers are named after what they are."""
    import keras
    from keras import layers

    def normalized(name: str) -> list[Any]:
        return [layers.BatchNormalization(), layers.ReLU(name=name)]

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            layers.Conv2D(16, 3, padding='same', use_bias=False),
            *normalized('stem'),
            layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            *normalized('depthwise'),
            layers.Conv2D(24, 1, use_bias=False),
            *normalized('pointwise'),
            layers.DepthwiseConv2D(3, strides=2, padding='same', use_bias=False),
            *normalized('second_depthwise'),
            layers.Conv2D(32, 1, use_bias=False),
            *normalized('second_pointwise'),
            layers.GlobalAveragePooling2D(name='pool'),
            layers.Dense(10, activation='softmax', name='dense'),
        ]
    )
    _train(model, epochs=12)
    model.export(folder, verbose=False)


def many_operators(folder: pathlib.Path) -> None:
    """Many kinds of operators and two outputs; not trained."""
    import keras
    from keras import layers

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
    keras.Model(image, {'probs': probs, 'box': box}).export(folder, verbose=False)


def many_links(folder: pathlib.Path) -> None:
    """All that channels can be followed through, and all that ends a chain; not trained."""
    import keras
    from keras import layers

    # Equal constants become one: two layers share zeros, the other biases are drawn.
    drawn = {'bias_initializer': 'random_normal'}
    image = keras.Input((12, 12, 2), name='image')
    x = layers.Conv2D(6, 3, padding='same', activation='relu', name='conv', **drawn)(image)
    x = layers.MaxPool2D(2, name='max_pool')(x)
    x = layers.DepthwiseConv2D(3, padding='same', depth_multiplier=2, name='multiplied', **drawn)(x)
    x = layers.LeakyReLU(name='leaky')(x)
    x = layers.ZeroPadding2D(1, name='padding')(x)
    x = layers.Conv2D(8, 3, groups=2, activation='relu', name='grouped', **drawn)(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding='same', name='transposed')(x)
    x = layers.AveragePooling2D(2, name='average_pool')(x)
    x = layers.Conv2D(6, 3, padding='same', activation='relu6', name='bounded', **drawn)(x)
    x = layers.Conv2D(6, 3, padding='same', activation='relu', name='forked', **drawn)(x)
    x = layers.Add(name='sum')([x, layers.Conv2D(6, 1, name='branch')(x)])
    x = layers.Conv2D(4, 3, padding='same', name='flattened', **drawn)(x)
    x = layers.Flatten(name='flat')(x)
    x = layers.Dense(12, activation='relu', name='dense', **drawn)(x)
    x = layers.Dense(8, activation='tanh', name='squashed')(x)
    features = layers.Dense(7, activation='relu', name='features', **drawn)(x)
    answer = layers.Dense(3, name='answer', **drawn)(features)
    keras.Model(image, {'features': features, 'answer': answer}).export(folder, verbose=False)


def small(folder: pathlib.Path) -> None:
    """Convolution, depthwise convolution, mean, dense; not trained."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            layers.Conv2D(16, 3, padding='same', activation='relu', name='stem'),
            layers.DepthwiseConv2D(3, padding='same', activation='relu', name='spatial'),
            layers.GlobalAveragePooling2D(name='pool'),
            layers.Dense(10, activation='softmax', name='probs'),
        ]
    )
    model.export(folder, verbose=False)


class _ManyKinds(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.stem = tf.Variable(random.normal(0, 3, (3, 3, 1, 8)).astype(np.float32))
        self.inner = tf.Variable(random.normal(0, 0.3, (3, 3, 8, 8)).astype(np.float32))
        self.head = tf.Variable(random.normal(0, 0.3, (16, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name='image')])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        stem = tf.nn.relu6(tf.nn.conv2d(image, self.stem, 1, 'SAME'))
        inner = tf.nn.relu(tf.nn.conv2d(stem, self.inner, 1, 'SAME'))
        pooled = tf.nn.max_pool2d(stem + inner, 2, 2, 'VALID')
        large = tf.reduce_mean(pooled, axis=(1, 2))
        both = tf.concat([large, 0.01 * large], axis=1)
        return {'probabilities': tf.nn.softmax(tf.tanh(both @ self.head))}


def many_kinds(folder: pathlib.Path) -> None:
    """RELU6, a residual, pooling, a concatenation of large and small values, tanh, softmax; random weights."""
    _save(_ManyKinds(), folder)


class _TwoHeaded(tf.Module):
    @tf.function(
        input_signature=[tf.TensorSpec([None, 1], name='left'), tf.TensorSpec([None, 1], name='right')]
    )
    def serve(self, left: tf.Tensor, right: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'total': left + right, 'product': left * right}


def two_headed(folder: pathlib.Path) -> None:
    """Two inputs and two outputs, under the signature 'score'."""
    _save(_TwoHeaded(), folder, 'score')


class _Logarithm(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name='image')])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'score': tf.math.log(tf.reduce_mean(image, axis=(1, 2)) - 0.3)}


def logarithm(folder: pathlib.Path) -> None:
    """It answers NaN for dark images."""
    _save(_Logarithm(), folder)


class _Masked(tf.Module):
    def __init__(self) -> None:
        draw = np.random.default_rng(0).normal
        self.query, self.key, self.value = (
            tf.Variable(draw(size=(6, 6)).astype('f'), name=name) for name in ('query', 'key', 'value')
        )
        self.answer = tf.Variable(draw(size=(6, 4)).astype('f'), name='answer')

    @tf.function(
        input_signature=[tf.TensorSpec([None, 8, 6], name='tokens'), tf.TensorSpec([None, 8], name='mask')]
    )
    def serve(self, tokens: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.matmul(tokens @ self.query, tokens @ self.key, transpose_b=True) / 2.0
        scores = tf.where(mask[:, tf.newaxis] > 0.5, scores, -1e9)
        attended = tf.matmul(tf.nn.softmax(scores), tokens @ self.value)
        return {'p': tf.nn.softmax(tf.reduce_sum(attended * mask[..., tf.newaxis], axis=1) @ self.answer)}


def masked(folder: pathlib.Path) -> None:
    """Attention whose mask puts -1e9 beside scores of a few units."""
    _save(_Masked(), folder)


class _AddedMasks(tf.Module):
    def __init__(self) -> None:
        draw = np.random.default_rng(0).normal
        self.layers = [
            [
                tf.Variable(draw(size=(6, 6)).astype('f'), name=f'{name}_{n}')
                for name in ('query', 'key', 'value')
            ]
            for n in range(2)
        ]
        self.answer = tf.Variable(draw(size=(6, 4)).astype('f'), name='answer')

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 8, 6], name='tokens'),
            tf.TensorSpec([None, 8], name='mask'),
            tf.TensorSpec([None, 8], name='more'),
        ]
    )
    def serve(self, tokens: tf.Tensor, mask: tf.Tensor, more: tf.Tensor) -> dict[str, tf.Tensor]:
        far = (1.0 - mask) * -1e9
        hidden = tokens
        for (query, key, value), added in zip(self.layers, (far, more), strict=True):
            scores = tf.matmul(hidden @ query, hidden @ key, transpose_b=True) / 4.0
            attended = tf.matmul(tf.nn.softmax(scores + far[:, tf.newaxis]), hidden @ value)
            scores = tf.matmul(hidden @ key, hidden @ query, transpose_b=True) / 4.0
            hidden = attended + tf.matmul(tf.nn.softmax(scores + added[:, tf.newaxis]), hidden @ value)
            hidden = tf.math.tanh(hidden)
        return {'p': tf.nn.softmax(tf.reduce_sum(hidden * mask[..., tf.newaxis], axis=1) @ self.answer)}


def added_masks(folder: pathlib.Path) -> None:
    """Attention with one mask of -1e9 that three softmaxes share, and one that comes in as an input."""
    _save(_AddedMasks(), folder)


class _UnlikeColumns(tf.Module):
    def __init__(self) -> None:
        draw = np.random.default_rng(0).normal
        self.hidden = tf.Variable(draw(size=(4, 12)).astype('f'), name='hidden')
        self.second = tf.Variable(draw(size=(12, 12)).astype('f') / 3, name='second')
        self.answer = tf.Variable(draw(size=(12, 3)).astype('f'), name='answer')

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name='row')])
    def serve(self, row: tf.Tensor) -> dict[str, tf.Tensor]:
        normalized = (row - [3e5, 900.0, 0.1, 3e-3]) * [1e-5, 1 / 300, 20.0, 1e3]
        hidden = tf.nn.relu(tf.nn.relu(normalized @ self.hidden) @ self.second)
        return {'p': tf.nn.softmax(hidden @ self.answer)}


def unlike_columns(folder: pathlib.Path) -> None:
    """A row whose columns have scales of 1e5, 300, 0.05 and 1e-3, normalized inside."""
    _save(_UnlikeColumns(), folder)


class _Selected(tf.Module):
    def __init__(self) -> None:
        self.answer = tf.Variable(np.random.default_rng(0).normal(size=(6, 3)).astype('f'), name='answer')

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name='x')])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        is_large = tf.reduce_max(tf.abs(x), axis=1, keepdims=True) > 1.5
        return {'y': tf.where(is_large, x / 100.0, x) @ self.answer}


def selected(folder: pathlib.Path) -> None:
    """An operator that wants both of its operands in the range of its output, and another reader of one."""
    _save(_Selected(), folder)


NETS: dict[str, Callable[[pathlib.Path], None]] = {
    net.__name__: net
    for net in (
        digits,
        tf_keras,
        separable,
        many_operators,
        many_links,
        small,
        many_kinds,
        two_headed,
        logarithm,
        masked,
        added_masks,
        unlike_columns,
        selected,
    )
}


def export(name: str, folder: pathlib.Path) -> None:
    """Makes a net anew, and writes it as SavedModel; a Keras net has the same weights and names each time."""
    import keras

    keras.utils.clear_session()
    # The second is for nets whose weights were drawn so from the start.
    keras.utils.set_random_seed(1 if name in ('many_operators', 'many_links') else 0)
    NETS[name](folder)


def _train(model: Any, epochs: int) -> None:
    import keras

    arrays = data.load()
    model.compile(keras.optimizers.Adam(3e-3), 'sparse_categorical_crossentropy')
    model.fit(arrays['x_train'], arrays['y_train'], batch_size=32, epochs=epochs, verbose=0)


def _save(module: tf.Module, folder: pathlib.Path, signature: str = 'serving_default') -> None:
    tf.saved_model.save(module, str(folder), signatures={signature: module.serve.get_concrete_function()})
