"""scikit-learn's handwritten digits, divided into those to train on and those to evaluate on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np


def load() -> dict[str, np.ndarray]:
    """`x_train` (1438, 8, 8, 1) and `x_eval` (359, ...), float32 in 0..1; `y_train` and `y_eval`, int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images / 16.0).astype(np.float32)[..., np.newaxis]
    y = bunch.target.astype(np.int64)
    held_out = np.arange(len(x)) % 5 == 4
    return {'x_train': x[~held_out], 'y_train': y[~held_out], 'x_eval': x[held_out], 'y_eval': y[held_out]}


def write_examples(digits: Mapping[str, np.ndarray], root: pathlib.Path) -> None:
    """Writes them as ExampleGen does: Split-train and Split-eval, features `image` (float) and `label` (int64)."""
    import tensorflow as tf

    for split in ('train', 'eval'):
        folder = root / f'Split-{split}'
        folder.mkdir(parents=True)
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
