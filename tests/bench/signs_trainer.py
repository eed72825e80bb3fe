"""The training code of `signs_tree.py`: a small net on photographs of hands, in plain Keras 3."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

SHAPE = (32, 32, 1)
_BATCH = 64


def run_fn(fn_args: Any) -> None:
    """What TFX's Trainer calls."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    images, labels = _read(fn_args.train_files)
    model = _net()
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, fn_args.train_steps)
    model.compile(keras.optimizers.Adam(schedule), 'sparse_categorical_crossentropy')
    random = np.random.default_rng(0)
    for _ in range(fn_args.train_steps):
        chosen = random.integers(0, len(images), _BATCH)
        model.train_on_batch(images[chosen], labels[chosen])
    model.export(fn_args.serving_model_dir, verbose=False)


def _net() -> keras.Model:
    layers = keras.layers
    blocks = [
        part
        for filters in (16, 32, 64)
        for part in (
            layers.Conv2D(filters, 3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        )
    ]
    head = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(16, activation='relu')]
    return keras.Sequential(
        [
            keras.Input(SHAPE, name='image'),
            *blocks,
            *head,
            layers.Dense(10, activation='softmax', name='sign'),
        ]
    )


def _read(patterns: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, sorted by content: ExampleGen's order changes from run to run."""
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = list(tf.data.TFRecordDataset(files, compression_type='GZIP').as_numpy_iterator())
    features = {
        'image': tf.io.FixedLenFeature(SHAPE, tf.float32),
        'label': tf.io.FixedLenFeature((), tf.int64),
    }
    parsed = tf.io.parse_example(tf.constant(sorted(records)), features)
    return parsed['image'].numpy(), parsed['label'].numpy()
