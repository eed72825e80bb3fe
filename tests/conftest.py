"""What many tests share: handwritten digits, nets trained on them, and a portable runner for Beam."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from tests import portable_runner as beam


@pytest.fixture(scope='session', autouse=True)
def outside_of_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs the tests in a folder of their own, so that no test finds or leaves a file in the checkout."""
    before = pathlib.Path.cwd()
    os.chdir(tmp_path_factory.mktemp('cwd'))
    yield
    os.chdir(before)


@pytest.fixture(scope='session')
def digits() -> dict[str, np.ndarray]:
    """scikit-learn's digits: `x_train` (1438, 8, 8, 1) and `x_eval` (359, ...) float32 in 0..1, `y_*` int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16.0).astype(np.float32)[..., np.newaxis]
    y = bunch.target.astype(np.int64)
    held_out = np.arange(len(x)) % 5 == 4
    return {'x_train': x[~held_out], 'y_train': y[~held_out], 'x_eval': x[held_out], 'y_eval': y[held_out]}


@pytest.fixture(scope='session')
def digits_examples(digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder laid out as ExampleGen's: Split-train and Split-eval, features `image` (float) and `label` (int64)."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp('digits_examples')
    for split in ('train', 'eval'):
        folder = root / f'Split-{split}'
        folder.mkdir()
        for shard in range(2):
            path = str(folder / f'data_tfrecord-{shard:05d}-of-00002.gz')
            with tf.io.TFRecordWriter(path, options='GZIP') as writer:
                rows = zip(digits[f'x_{split}'][shard::2], digits[f'y_{split}'][shard::2], strict=True)
                for image, label in rows:
                    feature = {
                        'image': tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
                        'label': tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                    }
                    example = tf.train.Example(features=tf.train.Features(feature=feature))
                    writer.write(example.SerializeToString(deterministic=True))
    return root


@pytest.fixture(scope='session')
def digits_saved_model(
    digits: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A Keras 3 net (conv + batch norm + relu, depthwise, dense) trained on digits, exported; input `image`."""
    import keras

    keras.utils.clear_session()  # layers have the same names whatever was made before
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name='image'),
            keras.layers.Conv2D(16, 3, padding='same', use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(32, 3, strides=2, padding='same', activation='relu'),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(32, activation='relu'),
            keras.layers.Dense(10, activation='softmax'),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), 'sparse_categorical_crossentropy', metrics=['accuracy'])
    model.fit(digits['x_train'], digits['y_train'], batch_size=32, epochs=25, verbose=0)
    folder = tmp_path_factory.mktemp('digits_model') / 'saved_model'
    model.export(folder, verbose=False)
    return folder


@pytest.fixture(scope='session')
def portable_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Arguments for a portable runner: a job server and an external pool of workers, each a process of its own."""
    with beam.portable_runner(tmp_path_factory.mktemp('portable_runner')) as arguments:
        yield arguments
