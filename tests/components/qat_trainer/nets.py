"""Small nets, one for each thing that LiteRT folds, fuses or quantizes in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

CLASSES = 10


def _convolved(x: Any, channels: int = 8, size: int = 3, **options: Any) -> Any:
    return layers.Conv2D(channels, size, padding='same', **options)(x)


def _normed(x: Any) -> Any:
    # Few steps are to be enough for the moving averages.
    return layers.BatchNormalization(momentum=0.8)(x)


def _logits(x: Any) -> Any:
    return layers.Dense(CLASSES)(layers.Flatten()(x))


def conv_bn_relu(x: Any) -> Any:
    return layers.MaxPooling2D(2)(layers.ReLU()(_normed(_convolved(x, use_bias=False))))


def conv_bn_relu6(x: Any) -> Any:
    return layers.ReLU(6.0)(_normed(_convolved(x, strides=2)))


def depthwise(x: Any) -> Any:
    x = layers.DepthwiseConv2D(3, padding='same', depth_multiplier=2, use_bias=False)(
        layers.ReLU()(_convolved(x))
    )
    return _convolved(layers.ReLU()(_normed(x)), size=1, activation='relu')


def dense_bn_relu(x: Any) -> Any:
    return layers.ReLU()(_normed(layers.Dense(32)(layers.Flatten()(x))))


def residual(x: Any) -> Any:
    x = layers.ReLU()(_normed(_convolved(x)))
    return layers.ReLU()(layers.Add()([x, _normed(_convolved(x))]))


def concatenation(x: Any) -> Any:
    branches = [_convolved(x, activation='relu'), layers.ReLU()(_normed(_convolved(x, 4, 1))), x]
    return layers.Concatenate()(branches)


def average_pooling(x: Any) -> Any:
    x = layers.AveragePooling2D(2)(layers.ReLU()(_normed(_convolved(x, 16))))
    return layers.GlobalAveragePooling2D()(_convolved(x, 32, activation='relu'))


def max_pooling(x: Any) -> Any:
    x = layers.MaxPooling2D(3, 2, padding='same')(layers.ReLU()(_normed(_convolved(x, 16))))
    return layers.GlobalMaxPooling2D()(_convolved(x, 32, activation='relu'))


def transposed_convolution(x: Any) -> Any:
    x = layers.ReLU()(_normed(_convolved(x, strides=2)))
    return layers.ReLU()(_normed(layers.Conv2DTranspose(6, 3, strides=2, padding='same')(x)))


def conv1d(x: Any) -> Any:
    x = layers.ReLU()(_normed(layers.Conv1D(12, 3, padding='same')(layers.Reshape((8, 8))(x))))
    return layers.Conv1D(8, 3, activation='relu')(x)


def squeeze_and_excite(x: Any) -> Any:
    x = layers.ReLU()(_normed(_convolved(x)))
    gate = layers.Conv2D(4, 1, activation='relu')(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, layers.Conv2D(8, 1, activation='sigmoid')(gate)])


def hard_swish(x: Any) -> Any:
    return layers.Activation('hard_swish')(_normed(_convolved(x)))


def swish(x: Any) -> Any:
    return layers.Activation('swish')(_normed(_convolved(x)))


def leaky_relu(x: Any) -> Any:
    return _convolved(layers.LeakyReLU()(_normed(_convolved(x))), activation='relu')


def layer_norm(x: Any) -> Any:
    x = layers.LayerNormalization()(layers.Dense(24)(layers.Reshape((8, 8))(x)))
    return layers.Dense(16, activation='relu')(x)


def attention(x: Any) -> Any:
    x = layers.Dense(16)(layers.Reshape((8, 8))(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
    return layers.Dense(16, activation='relu')(x)


def norm_behind_activation(x: Any) -> Any:
    return _convolved(_normed(_convolved(x, activation='relu')), activation='relu')


def norm_alone(x: Any) -> Any:
    return _convolved(_normed(_convolved(_normed(x), activation='relu')), activation='tanh')


def rescaled(x: Any) -> Any:
    return layers.UpSampling2D()(layers.Rescaling(2.0, -1.0)(_convolved(x, strides=2, activation='gelu')))


def resized(x: Any) -> Any:
    return _convolved(
        layers.UpSampling2D(2, interpolation='bilinear')(_convolved(x, 4)), strides=2, activation='relu'
    )


def mobilenet_v2(x: Any) -> Any:
    """Its blocks (Sandler et al., 2018, arXiv:1801.04381): expansion, depthwise, linear bottleneck, residual."""
    x = layers.ReLU(6.0)(_normed(_convolved(x, use_bias=False)))
    for channels, strides in [(8, 1), (12, 2), (12, 1), (16, 2), (16, 1)]:
        y = layers.ReLU(6.0)(_normed(_convolved(x, 4 * x.shape[-1], 1, use_bias=False)))
        y = layers.DepthwiseConv2D(3, strides=strides, padding='same', use_bias=False)(y)
        y = _normed(_convolved(layers.ReLU(6.0)(_normed(y)), channels, 1, use_bias=False))
        x = layers.Add()([x, y]) if y.shape == x.shape else y
    return layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(_normed(_convolved(x, 64, 1, use_bias=False))))


# Their own, on the image.
def grouped(x: Any) -> Any:
    """Few channels in a group, many, and one; Keras has each in a function of its own."""
    x = layers.ReLU()(_normed(_convolved(_convolved(x), 16, groups=2, use_bias=False)))
    return _convolved(_convolved(x, 16, groups=4, strides=2, activation='relu'), 16, 1, groups=16)


NETS: dict[str, Callable[[Any], Any]] = {
    net.__name__: net
    for net in (
        conv_bn_relu,
        conv_bn_relu6,
        depthwise,
        dense_bn_relu,
        residual,
        concatenation,
        average_pooling,
        max_pooling,
        transposed_convolution,
        conv1d,
        squeeze_and_excite,
        hard_swish,
        swish,
        leaky_relu,
        layer_norm,
        attention,
        norm_behind_activation,
        norm_alone,
        rescaled,
        resized,
        mobilenet_v2,
        grouped,
    )
}


def many_nets() -> keras.Model:
    """All NETS side by side, each with its own output, and one that takes two inputs and has two outputs."""
    image, mirrored = (keras.Input((8, 8, 1), name=name) for name in ('image', 'mirrored'))
    outputs = {name: _logits(net(image)) for name, net in NETS.items()}
    both = layers.Concatenate()([conv_bn_relu(image), layers.MaxPooling2D(2)(_convolved(mirrored))])
    outputs['two_inputs'] = _logits(both)
    outputs['two_outputs'] = _logits(layers.Dense(32, activation='relu')(layers.Flatten()(both)))
    return keras.Model({'image': image, 'mirrored': mirrored}, outputs)
