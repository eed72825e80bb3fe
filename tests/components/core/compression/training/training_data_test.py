"""Training batches depend on the examples and the seed, not on how they lie in files."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.training.training_data import training_batches
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.signature import TensorSpec

PARSER = ExampleParser({'x': TensorSpec((None, 1), tf.float32)})


def write(path: pathlib.Path, values: Sequence[float]) -> str:
    options = 'GZIP' if path.suffix == '.gz' else ''
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for value in values:
            writer.write(example(x=value))
    return str(path)


def example(**features: float) -> bytes:
    made = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString(deterministic=True)


def first(files: Sequence[str], *, seed: int = 0, batches: int = 5) -> np.ndarray:
    stream = training_batches(files, PARSER, 4, seed)
    return np.stack([batch['x'].ravel() for batch in itertools.islice(stream, batches)])


def test_training_batches_are_the_same_for_any_order_and_sharding(tmp_path: pathlib.Path) -> None:
    one = [write(tmp_path / 'one.gz', range(10))]
    two = [write(tmp_path / 'b', [7, 1, 9, 3]), write(tmp_path / 'a', [8, 2, 0, 4, 6, 5])]
    np.testing.assert_array_equal(first(one), first(two))


def test_training_batches_are_the_same_for_any_order_of_features_in_a_record(tmp_path: pathlib.Path) -> None:
    streams = []
    for swapped in (False, True):
        with tf.io.TFRecordWriter(str(tmp_path / f'{swapped}')) as writer:
            for index, value in enumerate(range(10)):
                parts = [example(x=value), example(other=value)]
                # Serialized messages merge when joined: the map's entries in this order.
                writer.write(b''.join(reversed(parts) if swapped and index % 2 else parts))
        streams.append(first([str(tmp_path / f'{swapped}')]))
    np.testing.assert_array_equal(*streams)


def test_training_batches_show_every_example_once_in_a_pass(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / 'file', range(10))
    seen = first([file]).ravel()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_training_batches_follow_the_seed(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / 'file', range(10))
    assert not np.array_equal(first([file], seed=0), first([file], seed=1))
