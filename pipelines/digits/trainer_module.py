"""The training code of the digits pipeline: plain Keras 3, as any TFX user writes it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_edge.pipelines.digits.data import IMAGE, LABEL

_LOG = logging.getLogger(__name__)

_BATCH_SIZE = 64


def run_fn(fn_args: Any) -> None:
    """What TFX's Trainer calls.

    Args:
      fn_args: `train_files`, `eval_files` (patterns), `train_steps`, and `serving_model_dir`, where
        the SavedModel is written.
    """
    # Keras numbers the names of layers within a process, and the file holds these names.
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    images, labels = _read(fn_args.train_files)
    model = _build_model()
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, fn_args.train_steps)
    model.compile(keras.optimizers.Adam(schedule), 'sparse_categorical_crossentropy', metrics=['accuracy'])
    rng = np.random.default_rng(0)
    for step in range(1, fn_args.train_steps + 1):
        chosen = rng.integers(0, len(images), _BATCH_SIZE)
        loss, accuracy = model.train_on_batch(_shift(images[chosen], rng), labels[chosen])
        if step % 200 == 0 or step == fn_args.train_steps:
            _LOG.info('step %d of %d: loss %.4f, accuracy %.4f', step, fn_args.train_steps, loss, accuracy)
            model.reset_metrics()
    model.export(fn_args.serving_model_dir, verbose=False)


def _build_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name=IMAGE),
            *_with_batch_norm(keras.layers.Conv2D(16, 3, padding='same', use_bias=False)),
            *_with_batch_norm(keras.layers.DepthwiseConv2D(3, padding='same', use_bias=False)),
            *_with_batch_norm(keras.layers.Conv2D(32, 1, use_bias=False)),
            *_with_batch_norm(keras.layers.Conv2D(64, 3, strides=2, padding='same', use_bias=False)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation='softmax', name='digit'),
        ]
    )


def _with_batch_norm(convolution: keras.layers.Layer) -> list[keras.layers.Layer]:
    return [convolution, keras.layers.BatchNormalization(), keras.layers.ReLU()]


def _read(patterns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All images (n, 8, 8, 1) and labels (n,), sorted by content: ExampleGen's order changes from run to run."""
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = list(tf.data.TFRecordDataset(files, compression_type='GZIP').as_numpy_iterator())
    features = {
        IMAGE: tf.io.FixedLenFeature((8, 8, 1), tf.float32),
        LABEL: tf.io.FixedLenFeature((), tf.int64),
    }
    parsed = tf.io.parse_example(tf.constant(records), features)
    images, labels = parsed[IMAGE].numpy(), parsed[LABEL].numpy()
    order = np.lexsort([*images.reshape(len(images), -1).T, labels])
    return images[order], labels[order]


def _shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by at most one pixel along each axis; pixels from outside are 0."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = rng.integers(0, 3, (len(images), 2))
    return np.stack(
        [
            image[row : row + 8, column : column + 8]
            for image, (row, column) in zip(padded, corners, strict=True)
        ]
    )
