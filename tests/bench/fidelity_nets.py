"""Small nets of many architectures, each trained for seconds until it answers well.

>>> net = NETS['mask_added']()
>>> net.build(pathlib.Path('/tmp/model'))
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# Run from the checkout, the tests are no installed package.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.components.qat_trainer import nets as parity_nets

Arrays = Mapping[str, np.ndarray]
_CROSS_ENTROPY = 'sparse_categorical_crossentropy'


@dataclasses.dataclass(frozen=True)
class Net:
    """A net and the data it is for.

    Attributes:
      name: of the net.
      build: trains it and writes it as SavedModel into a folder.
      calibration: inputs that it was trained on, by name, of shape (rows, ...).
      held_out: others.
      class_output: name of an output that says a class: integers, or values of which the largest along the last axis
        counts; None for what has no class.
      right: what it should say on the held-out rows, where it is known.
      independent: whether each value of the class output stands alone, and its side of 0.5 counts.
      signature_name: to convert.
    """

    name: str
    build: Callable[[pathlib.Path], None]
    calibration: Arrays
    held_out: Arrays
    class_output: str | None = 'p'
    right: np.ndarray | None = None
    independent: bool = False
    signature_name: str = 'serving_default'


def _fit(model: keras.Model, inputs: Any, targets: Any, loss: Any, epochs: int, rate: float = 3e-3) -> None:
    # XLA would take longer to compile than the training takes.
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(inputs, targets, batch_size=64, epochs=epochs, verbose=0)


def _keras_net(
    name: str,
    make: Callable[[], keras.Model],
    inputs: Arrays,
    targets: Mapping[str, np.ndarray],
    loss: Any = _CROSS_ENTROPY,
    *,
    epochs: int = 20,
    rate: float = 3e-3,
    held_out: int = 400,
    class_output: str | None = 'p',
    independent: bool = False,
) -> Net:
    """A Keras model as it is; the last rows are held out."""
    seen = {key: values[:-held_out] for key, values in inputs.items()}

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        model = make()
        _fit(model, seen, {key: v[:-held_out] for key, v in targets.items()}, loss, epochs, rate)
        model.export(folder, verbose=False)

    rest = {key: values[-held_out:] for key, values in inputs.items()}
    right = targets[class_output][-held_out:] if class_output else None
    return Net(name, build, seen, rest, class_output, right, independent)


def _export(folder: pathlib.Path, model: Any, serve: Callable[..., Any], specs: list[tf.TensorSpec]) -> None:
    """Writes a function that calls a Keras model."""
    module = tf.Module()
    module.model = model
    module.serve = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={'serving_default': module.serve})


def _classifier(x: Any, classes: int, width: int = 32) -> Any:
    return layers.Dense(classes, activation='softmax', name='p')(layers.Dense(width, activation='relu')(x))


# --- attention ---


def _marked_tokens(rows: int = 1500) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Tokens of which one, a valid one, is marked and holds the class; the rest of each row is filled up."""
    random = np.random.default_rng(0)
    tokens = random.normal(size=(rows, 12, 16)).astype(np.float32)
    lengths = random.integers(3, 13, rows)
    mask = (np.arange(12) < lengths[:, None]).astype(np.float32)
    marked = (random.random(rows) * lengths).astype(int)
    classes = random.integers(0, 4, (rows, 12))
    tokens[..., 1:5] += 4 * np.eye(4, dtype=np.float32)[classes]
    tokens[:, :, 0] = 0
    tokens[np.arange(rows), marked, 0] = 3
    # A mark behind the end, which attention is not to look at.
    short = lengths < 12
    tokens[short, lengths[short], 0] = 3
    return {'tokens': tokens, 'mask': mask}, classes[np.arange(rows), marked]


def _masked_attention(masked: Callable[[Any, Any], Any]) -> keras.Model:
    tokens, mask = keras.Input((12, 16), name='tokens'), keras.Input((12,), name='mask')
    x = layers.Dense(16)(tokens)
    query, key, value = layers.Dense(16)(x), layers.Dense(16)(x), layers.Dense(16)(x)
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 4.0
    x = ops.matmul(ops.softmax(masked(scores, ops.expand_dims(mask, 1))), value)
    x = ops.sum(x * ops.expand_dims(mask, -1), axis=1)
    return keras.Model({'tokens': tokens, 'mask': mask}, {'p': _classifier(x, 4)})


def mask_added() -> Net:
    inputs, classes = _marked_tokens()
    make = functools.partial(_masked_attention, lambda scores, mask: scores + (1.0 - mask) * -1e9)
    return _keras_net('mask_added', make, inputs, {'p': classes}, epochs=30)


def mask_where() -> Net:
    inputs, classes = _marked_tokens()
    make = functools.partial(
        _masked_attention, lambda scores, mask: ops.where(mask > 0.5, scores, ops.full_like(scores, -1e9))
    )
    return _keras_net('mask_where', make, inputs, {'p': classes}, epochs=30)


def mask_keras() -> Net:
    inputs, classes = _marked_tokens()

    def make() -> keras.Model:
        tokens, mask = keras.Input((12, 16), name='tokens'), keras.Input((12,), name='mask')
        x = layers.Dense(16)(tokens)
        seen = ops.expand_dims(mask, 1) > 0.5
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x, attention_mask=seen)])
        x = ops.sum(x * ops.expand_dims(mask, -1), axis=1)
        return keras.Model({'tokens': tokens, 'mask': mask}, {'p': _classifier(x, 4)})

    return _keras_net('mask_keras', make, inputs, {'p': classes}, epochs=30)


# --- tables ---


def unlike_columns() -> Net:
    random = np.random.default_rng(0)
    scale = np.array([1e5, 300.0, 5.0, 0.05, 1e-3], np.float32)
    z = random.normal(size=(2000, 5)).astype(np.float32)
    rows = z * scale + scale * 3
    classes = (z @ random.normal(size=(5, 3))).argmax(1)

    def make() -> keras.Model:
        row = keras.Input((5,), name='row')
        norm = layers.Normalization()
        norm.adapt(rows[:1600])
        return keras.Model({'row': row}, {'p': _classifier(norm(row), 3)})

    return _keras_net('unlike_columns', make, {'row': rows}, {'p': classes}, epochs=25)


def missing_values() -> Net:
    """-999 stands for what is missing, and is made 0."""
    random = np.random.default_rng(1)
    x = random.normal(size=(1600, 8)).astype(np.float32)
    classes = (x @ random.normal(size=(8, 3))).argmax(1)
    x[random.random(x.shape) < 0.05] = -999

    def make() -> keras.Model:
        row = keras.Input((8,), name='row')
        filled = ops.where(row < -900, ops.zeros_like(row), row)
        return keras.Model({'row': row}, {'p': _classifier(filled, 3)})

    return _keras_net('missing_values', make, {'row': x}, {'p': classes})


def log_of_counts() -> Net:
    random = np.random.default_rng(2)
    rate = 10 ** random.uniform(-1, 3, (1600, 6))
    counts = random.poisson(rate).astype(np.float32)
    classes = (np.log1p(counts) @ random.normal(size=(6, 3))).argmax(1)

    def make() -> keras.Model:
        row = keras.Input((6,), name='counts')
        return keras.Model({'counts': row}, {'p': _classifier(ops.log(row + 1e-6) / 4.0, 3)})

    return _keras_net('log_of_counts', make, {'counts': counts}, {'p': classes}, epochs=30)


def small_divisor() -> Net:
    random = np.random.default_rng(3)
    z = random.normal(size=(1600, 6)).astype(np.float32)
    unit = 10 ** random.uniform(-2, 0, (1600, 1)).astype(np.float32)
    classes = (z @ random.normal(size=(6, 3))).argmax(1)

    def make() -> keras.Model:
        x, divisor = keras.Input((6,), name='x'), keras.Input((1,), name='unit')
        return keras.Model({'x': x, 'unit': divisor}, {'p': _classifier(x / (divisor + 1e-4), 3)})

    return _keras_net('small_divisor', make, {'x': z * unit, 'unit': unit}, {'p': classes})


def select() -> Net:
    """A half of the rows is a hundred times as large, and is brought back."""
    random = np.random.default_rng(4)
    z = random.uniform(-1, 1, (1600, 6)).astype(np.float32)
    classes = (z @ random.normal(size=(6, 3))).argmax(1)
    x = z.copy()
    x[::2] *= 100

    def make() -> keras.Model:
        row = keras.Input((6,), name='x')
        large = ops.max(ops.abs(row), axis=1, keepdims=True) > 1.5
        return keras.Model({'x': row}, {'p': _classifier(ops.where(large, row / 100.0, row), 3)})

    return _keras_net('select', make, {'x': x}, {'p': classes})


def log_probabilities() -> Net:
    random = np.random.default_rng(5)
    x = random.normal(size=(1600, 8)).astype(np.float32)
    classes = (x @ random.normal(size=(8, 4))).argmax(1)

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        row = keras.Input((8,), name='x')
        model = keras.Model(row, _classifier(row, 4))
        _fit(model, x[:1200], classes[:1200], _CROSS_ENTROPY, 20)
        serve = lambda x: {'log_p': tf.math.log(model(x) + 1e-7)}  # noqa: E731
        _export(folder, model, serve, [tf.TensorSpec((None, 8), name='x')])

    return Net('log_probabilities', build, {'x': x[:1200]}, {'x': x[1200:]}, 'log_p', classes[1200:])


def heads_of_unlike_scale() -> Net:
    random = np.random.default_rng(6)
    x = random.normal(size=(1500, 8)).astype(np.float32)
    classes = (x @ random.normal(size=(8, 4))).argmax(1)
    price = np.tanh(x @ random.normal(size=8) / 2).astype(np.float32)

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        row = keras.Input((8,), name='x')
        h = layers.Dense(48, activation='relu')(layers.Dense(48, activation='relu')(row))
        p, unit = layers.Dense(4, activation='softmax')(h), layers.Dense(1)(h)
        targets = {'p': classes[:1100], 'price': price[:1100]}
        model = keras.Model(row, {'p': p, 'price': unit})
        _fit(model, x[:1100], targets, {'p': _CROSS_ENTROPY, 'price': 'mse'}, 30)
        scaled = layers.Rescaling(90_000.0, 250_000.0)(unit)
        keras.Model({'x': row}, {'p': p, 'price': scaled}).export(folder, verbose=False)

    return Net('heads_of_unlike_scale', build, {'x': x[:1100]}, {'x': x[1100:]}, right=classes[1100:])


def key_passed_through() -> Net:
    random = np.random.default_rng(7)
    x = random.normal(size=(1600, 8)).astype(np.float32)
    classes = (x @ random.normal(size=(8, 3))).argmax(1)
    keys = random.integers(1, 1 << 30, (1600, 1))

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        row = keras.Input((8,), name='x')
        model = keras.Model(row, _classifier(row, 3))
        _fit(model, x[:1200], classes[:1200], _CROSS_ENTROPY, 20)
        serve = lambda key, x: {'key': tf.identity(key), 'p': model(x)}  # noqa: E731
        specs = [tf.TensorSpec((None, 1), tf.int64, name='key'), tf.TensorSpec((None, 8), name='x')]
        _export(folder, model, serve, specs)

    seen, rest = {'key': keys[:1200], 'x': x[:1200]}, {'key': keys[1200:], 'x': x[1200:]}
    return Net('key_passed_through', build, seen, rest, right=classes[1200:])


def multi_label() -> Net:
    from sklearn.datasets import make_multilabel_classification

    x, labels = make_multilabel_classification(
        n_samples=1600, n_features=20, n_classes=5, n_labels=2, random_state=0
    )

    def make() -> keras.Model:
        row = keras.Input((20,), name='x')
        h = layers.Dense(32, activation='relu')(layers.BatchNormalization()(row))
        return keras.Model({'x': row}, {'p': layers.Dense(5, activation='sigmoid', name='p')(h)})

    targets = {'p': labels.astype(np.float32)}
    inputs = {'x': x.astype(np.float32)}
    return _keras_net('multi_label', make, inputs, targets, 'binary_crossentropy', independent=True)


def two_towers() -> Net:
    random = np.random.default_rng(8)
    user, item = (random.normal(size=(2400, n)).astype(np.float32) for n in (12, 8))
    user_taste, item_taste = random.normal(size=(12, 4)), random.normal(size=(8, 4))
    likes = ((user @ user_taste) * (item @ item_taste)).sum(1) > 0

    def tower(x: Any) -> Any:
        x = layers.Dense(16)(layers.Dense(48, activation='relu')(x))
        return layers.UnitNormalization()(x)

    def make() -> keras.Model:
        a, b = keras.Input((12,), name='user'), keras.Input((8,), name='item')
        cosine = layers.Dot(1)([tower(a), tower(b)])
        likes = layers.Activation('sigmoid', name='likes')(layers.Rescaling(8.0)(cosine))
        return keras.Model({'user': a, 'item': b}, {'likes': likes})

    targets = {'likes': likes.astype(np.float32)}
    inputs = {'user': user, 'item': item}
    return _keras_net(
        'two_towers',
        make,
        inputs,
        targets,
        'binary_crossentropy',
        epochs=40,
        class_output='likes',
        independent=True,
    )


# --- sequences ---


def _padded_tokens() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(9)
    lengths = random.integers(2, 11, 1600)
    tokens = random.integers(1, 30, (1600, 10)) * (np.arange(10) < lengths[:, None])
    last = tokens[np.arange(1600), lengths - 1]
    return tokens, (last > 15).astype(int) + (tokens[:, 0] > 15)


def lstm() -> Net:
    random = np.random.default_rng(10)
    x = random.normal(size=(1600, 10, 4)).astype(np.float32)
    classes = (np.cumsum(x, axis=1)[:, -1] @ random.normal(size=(4, 3))).argmax(1)

    def make() -> keras.Model:
        steps = keras.Input((10, 4), name='steps')
        x = layers.LSTM(16, unroll=True)(steps)
        return keras.Model({'steps': steps}, {'p': layers.Dense(3, activation='softmax', name='p')(x)})

    return _keras_net('lstm', make, {'steps': x}, {'p': classes}, epochs=20, rate=1e-2)


def gru_on_tokens() -> Net:
    tokens, classes = _padded_tokens()

    def make() -> keras.Model:
        ids = keras.Input((10,), dtype='int64', name='tokens')
        x = layers.GRU(16, unroll=True)(layers.Embedding(30, 12)(ids))
        return keras.Model({'tokens': ids}, {'p': layers.Dense(3, activation='softmax', name='p')(x)})

    return _keras_net('gru_on_tokens', make, {'tokens': tokens}, {'p': classes}, epochs=20, rate=1e-2)


def mean_of_tokens() -> Net:
    """Embedding, and the mean over what is no padding."""
    random = np.random.default_rng(11)
    tokens, _ = _padded_tokens()
    worth = random.normal(size=(30, 3))
    worth[0] = 0
    classes = worth[tokens].sum(1).argmax(1)

    def make() -> keras.Model:
        ids = keras.Input((10,), dtype='int64', name='tokens')
        mask = ops.cast(ops.expand_dims(ids, -1) > 0, 'float32')
        x = ops.sum(layers.Embedding(30, 12)(ids) * mask, axis=1) / ops.sum(mask, axis=1)
        return keras.Model({'tokens': ids}, {'p': _classifier(x, 3)})

    return _keras_net('mean_of_tokens', make, {'tokens': tokens}, {'p': classes}, rate=1e-2)


def log_mel() -> Net:
    """A spectrogram in front of convolutions, whose quiet examples matter as much as the loud ones."""
    random = np.random.default_rng(0)
    rows, length = 900, 1024
    classes = random.integers(0, 4, rows)
    pitch = np.array([60, 120, 220, 360])[classes] + random.normal(size=rows) * 2
    loud = 10 ** random.uniform(-2, 0, (rows, 1))
    phase = 2 * np.pi * pitch[:, None] * np.arange(length) / length + random.uniform(0, 6, (rows, 1))
    audio = (loud * (np.sin(phase) + 0.1 * random.normal(size=(rows, length)))).astype(np.float32)

    def front(audio: tf.Tensor) -> tf.Tensor:
        mel = tf.signal.linear_to_mel_weight_matrix(20, 65, 1000.0, 20.0, 480.0)
        spectrum = tf.abs(tf.signal.stft(audio, 128, 64, 128))
        return tf.expand_dims(tf.math.log(tf.matmul(spectrum, mel) + 1e-6), -1)

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        image = keras.Input((15, 20, 1))
        x = layers.Conv2D(8, 3, activation='relu', padding='same')(layers.BatchNormalization()(image))
        x = layers.Conv2D(16, 3, activation='relu')(layers.MaxPooling2D(2)(x))
        x = layers.Dense(4, activation='softmax')(layers.GlobalAveragePooling2D()(x))
        body = keras.Model(image, x)
        _fit(body, front(tf.constant(audio[:600])).numpy(), classes[:600], _CROSS_ENTROPY, 40)
        serve = lambda audio: {'p': body(front(audio))}  # noqa: E731
        _export(folder, body, serve, [tf.TensorSpec((None, length), name='audio')])

    return Net('log_mel', build, {'audio': audio[:600]}, {'audio': audio[600:]}, right=classes[600:])


# --- images ---


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits, (1797, 8, 8, 1) in 0..1, and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / 16.0).astype(np.float32)[..., np.newaxis], bunch.target.astype(np.int64)


def rescaled_inside() -> Net:
    images, classes = _digits()

    def make() -> keras.Model:
        image = keras.Input((8, 8, 1), name='image')
        x = layers.Rescaling(1 / 127.5, -1.0)(image)
        x = layers.Conv2D(16, 3, strides=2, activation='relu')(layers.Conv2D(8, 3, activation='relu')(x))
        return keras.Model({'image': image}, {'p': _classifier(layers.Flatten()(x), 10)})

    return _keras_net('rescaled_inside', make, {'image': np.round(images * 255)}, {'p': classes})


def squeeze_and_excite() -> Net:
    images, classes = _digits()

    def block(x: Any, channels: int) -> Any:
        x = layers.Conv2D(channels, 3, padding='same', use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        gate = layers.Dense(channels // 4, activation='relu')(layers.GlobalAveragePooling2D()(x))
        gate = layers.Reshape((1, 1, channels))(layers.Dense(channels, activation='sigmoid')(gate))
        return layers.Multiply()([x, gate])

    def make() -> keras.Model:
        image = keras.Input((8, 8, 1), name='image')
        x = block(layers.MaxPooling2D(2)(block(image, 16)), 32)
        x = layers.Dense(10, activation='softmax', name='p')(layers.GlobalAveragePooling2D()(x))
        return keras.Model({'image': image}, {'p': x})

    return _keras_net('squeeze_and_excite', make, {'image': images}, {'p': classes}, epochs=15, rate=5e-3)


def autoencoder() -> Net:
    images, _ = _digits()

    def make() -> keras.Model:
        image = keras.Input((8, 8, 1), name='image')
        x = layers.Dense(12)(layers.Dense(48, activation='relu')(layers.Flatten()(image)))
        x = layers.Dense(64, activation='sigmoid')(layers.Dense(48, activation='relu')(x))
        return keras.Model({'image': image}, {'image': layers.Reshape((8, 8, 1), name='image_again')(x)})

    return _keras_net(
        'autoencoder', make, {'image': images}, {'image': images}, 'mse', epochs=60, class_output=None
    )


def _shapes(rows: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy images (rows, size, size, 1) of one shape each; its class 1 to 3; centre y, x, height and width."""
    random = np.random.default_rng(12)
    images = 0.15 * random.normal(size=(rows, size, size, 1)).astype(np.float32)
    classes = random.integers(1, 4, rows)
    half = random.integers(2, 5, (rows, 2))
    centre = random.integers(4, size - 4, (rows, 2))
    y, x = np.mgrid[:size, :size]
    for image, kind, (cy, cx), (hy, hx) in zip(images, classes, centre, half, strict=True):
        dy, dx = np.abs(y - cy), np.abs(x - cx)
        inside = (dy <= hy) & (dx <= hx)
        drawn = {
            1: inside,
            2: inside & ((dy == 0) | (dx == 0)),
            3: inside & ((dy == hy) | (dx == hx)),
        }[int(kind)]
        image[drawn] += 1.0
    return images, classes, np.concatenate([centre + 0.5, 2 * half + 1], axis=1).astype(np.float32)


def unet() -> Net:
    """Each pixel's class: background or the shape it is of."""
    images, classes, _ = _shapes(1000, 16)
    pixels = (images[..., 0] > 0.55) * classes[:, None, None]

    def block(x: Any, channels: int) -> Any:
        return layers.Conv2D(channels, 3, padding='same', activation='relu')(x)

    def make() -> keras.Model:
        image = keras.Input((16, 16, 1), name='image')
        first = block(image, 12)
        second = block(layers.MaxPooling2D(2)(first), 24)
        x = block(layers.MaxPooling2D(2)(second), 32)
        x = layers.Conv2DTranspose(24, 3, strides=2, padding='same', activation='relu')(x)
        x = block(layers.Concatenate()([x, second]), 24)
        x = layers.Conv2DTranspose(12, 3, strides=2, padding='same', activation='relu')(x)
        x = block(layers.Concatenate()([x, first]), 12)
        return keras.Model({'image': image}, {'p': layers.Conv2D(4, 1, activation='softmax', name='p')(x)})

    return _keras_net('unet', make, {'image': images}, {'p': pixels}, epochs=12, held_out=200)


_CELLS, _STRIDE = 6, 4


def _detector_body() -> keras.Model:
    """For each cell of a grid the probabilities of background and three shapes, and where its box is."""
    image = keras.Input((_CELLS * _STRIDE, _CELLS * _STRIDE, 1), name='image')
    x = layers.Conv2D(12, 3, strides=2, padding='same', activation='relu')(image)
    x = layers.Conv2D(24, 3, strides=2, padding='same', activation='relu')(x)
    x = layers.Conv2D(32, 3, padding='same', activation='relu')(x)
    return keras.Model(
        image, {'p': layers.Conv2D(4, 1, activation='softmax')(x), 'offsets': layers.Conv2D(4, 1)(x)}
    )


def _train_detector(images: np.ndarray, classes: np.ndarray, boxes: np.ndarray) -> keras.Model:
    rows = np.arange(len(images))
    cy, cx = (boxes[:, :2] // _STRIDE).astype(int).T
    p = np.zeros((len(images), _CELLS, _CELLS), np.int64)
    p[rows, cy, cx] = classes
    # Where in its cell, how large against it, and whether there is one.
    offsets = np.zeros((len(images), _CELLS, _CELLS, 5), np.float32)
    inside = boxes[:, :2] / _STRIDE % 1
    offsets[rows, cy, cx] = np.column_stack([inside, np.log(boxes[:, 2:] / _STRIDE), np.ones(len(images))])

    def box_loss(expected: Any, found: Any) -> Any:
        difference = ops.concatenate([ops.sigmoid(found[..., :2]), found[..., 2:]], -1) - expected[..., :4]
        return ops.sum(expected[..., 4:] * ops.square(difference), (1, 2, 3))

    model = _detector_body()
    losses = {'p': _CROSS_ENTROPY, 'offsets': box_loss}
    _fit(model, images, {'p': p, 'offsets': offsets}, losses, 30)
    return model


def _decoded(offsets: tf.Tensor) -> tf.Tensor:
    """(batch, cells, 4) of top, left, bottom and right in pixels."""
    y, x = np.mgrid[:_CELLS, :_CELLS].astype(np.float32)
    centre = (tf.sigmoid(offsets[..., :2]) + np.stack([y, x], -1)) * float(_STRIDE)
    size = tf.exp(offsets[..., 2:]) * float(_STRIDE)
    corners = tf.concat([centre - size / 2.0, centre + size / 2.0], -1)
    return tf.reshape(corners, (-1, _CELLS**2, 4))


def _argmax_head(found: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    p = tf.reshape(found['p'], (-1, _CELLS**2, 4))
    return {'p': p, 'class': tf.argmax(p, -1)}


def _top_k_head(found: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    p = tf.reshape(found['p'], (-1, _CELLS**2, 4))
    scores, cells = tf.math.top_k(tf.reduce_max(p[..., 1:], -1), 3)
    return {'scores': scores, 'cells': cells, 'best': cells[:, :1]}


def _box_head(found: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {'p': tf.reshape(found['p'], (-1, _CELLS**2, 4)), 'boxes': _decoded(found['offsets'])}


def _detector(name: str, head: Callable[[Any], dict[str, tf.Tensor]], class_output: str) -> Net:
    images, classes, boxes = _shapes(1200, _CELLS * _STRIDE)

    def build(folder: pathlib.Path) -> None:
        keras.utils.set_random_seed(0)
        body = _train_detector(images[:900], classes[:900], boxes[:900])
        specs = [tf.TensorSpec((None, *images.shape[1:]), name='image')]
        _export(folder, body, lambda image: head(body(image)), specs)

    return Net(name, build, {'image': images[:900]}, {'image': images[900:]}, class_output)


def _parity_net(name: str) -> Net:
    """One of the nets by which the simulation of QATTrainer is held against its file."""
    images, classes = _digits()

    def make() -> keras.Model:
        image = keras.Input((8, 8, 1), name='image')
        x = layers.Flatten()(parity_nets.NETS[name](image))
        return keras.Model({'image': image}, {'p': layers.Dense(10, activation='softmax', name='p')(x)})

    return _keras_net(f'parity_{name}', make, {'image': images}, {'p': classes}, epochs=12, rate=5e-3)


# Each makes its data when it is called.
NETS: dict[str, Callable[[], Net]] = {
    **{
        make.__name__: make
        for make in (
            mask_where,
            mask_added,
            mask_keras,
            unlike_columns,
            missing_values,
            log_of_counts,
            small_divisor,
            select,
            log_probabilities,
            heads_of_unlike_scale,
            key_passed_through,
            multi_label,
            two_towers,
            lstm,
            gru_on_tokens,
            mean_of_tokens,
            log_mel,
            rescaled_inside,
            squeeze_and_excite,
            autoencoder,
            unet,
        )
    },
    'detector_argmax': functools.partial(_detector, 'detector_argmax', _argmax_head, 'class'),
    'detector_top_k': functools.partial(_detector, 'detector_top_k', _top_k_head, 'best'),
    'detector_boxes': functools.partial(_detector, 'detector_boxes', _box_head, 'p'),
    **{f'parity_{name}': functools.partial(_parity_net, name) for name in parity_nets.NETS},
}
