"""scikit-learn's handwritten digits (1797 grey images of 8 x 8) as tf.Examples."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator

IMAGE = 'image'
LABEL = 'label'
_HELD_OUT = 5


def write_examples(folder: str | os.PathLike[str]) -> None:
    """Writes `train/` (1438 examples) and `eval/` (359) below a folder, unless they are there.

    ExampleGen's fingerprint of a file is its size and time, so writing it again would invalidate every cached step.

    Args:
      folder: is made when all is written.

    Example:
      >>> write_examples('demo-output/data')
    """
    folder = pathlib.Path(folder)
    if folder.is_dir():
        return
    import tensorflow as tf  # takes seconds

    draft = folder.with_name(f'{folder.name}.unfinished')
    shutil.rmtree(draft, ignore_errors=True)
    for split in ('train', 'eval'):
        (draft / split).mkdir(parents=True)
        path = str(draft / split / 'digits.tfrecord.gz')
        with tf.io.TFRecordWriter(path, options='GZIP') as writer:
            for record in _records(split):
                writer.write(record)
    draft.rename(folder)


def _records(split: str) -> Iterator[bytes]:
    """The data set comes without a split: every fifth image is for evaluation, the others for training."""
    import tensorflow as tf
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for index, (image, label) in enumerate(zip(bunch.images / 16.0, bunch.target, strict=True)):
        if (index % _HELD_OUT == _HELD_OUT - 1) != (split == 'eval'):
            continue
        features = {
            IMAGE: tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
            LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        yield example.SerializeToString(deterministic=True)
