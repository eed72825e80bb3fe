"""The order of training examples: decided by the seed and the examples, not by their files."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression import training_data
from tfx_edge.components.core.compression.training_data import training_batches
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.signature import TensorSpec

_PARSER = ExampleParser({'x': TensorSpec((None,), tf.int64)})


def _write(folder: pathlib.Path, files: list[list[int]]) -> list[str]:
    folder.mkdir()
    paths = []
    for index, values in enumerate(files):
        paths.append(str(folder / f'data-{index}'))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for value in values:
                feature = {'x': tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))}
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    return paths


def _first(files: list[str], seed: int, batches: int = 5) -> list[int]:
    taken = itertools.islice(training_batches(files, _PARSER, 4, seed), batches)
    return np.concatenate([batch['x'] for batch in taken]).tolist()


def test_sharding_and_order_of_records_do_not_matter(tmp_path: pathlib.Path) -> None:
    one = _write(tmp_path / 'one', [list(range(10))])
    other = _write(tmp_path / 'other', [[7, 3], [0, 9, 8, 1], [2, 6, 5, 4]])
    assert _first(one, 0) == _first(other, 0)
    assert _first(one, 0) != _first(one, 1)


def test_each_pass_holds_every_example_once_in_another_order(tmp_path: pathlib.Path) -> None:
    values = _first(_write(tmp_path / 'one', [list(range(10))]), 0)
    assert sorted(values[:10]) == sorted(values[10:]) == list(range(10))
    assert values[:10] != values[10:]


def test_more_records_than_can_be_held_are_streamed_in_the_seed_s_order(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, '_HELD_BYTES', 60)
    files = _write(tmp_path / 'one', [list(range(8)), list(range(8, 20))])
    values = _first(files, 0, batches=10)
    assert values == _first(files, 0, batches=10)
    assert sorted(values[:20]) == sorted(values[20:]) == list(range(20))
    assert values[:20] != values[20:]
