"""Batches of examples are as large as their records allow."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from tfx_edge.components.core.evaluation.evaluators.example_batches import batch_size


@pytest.mark.parametrize(('size', 'wanted'), [(10, 1000), (1 << 17, 32), (1 << 23, 1), (0, 1000)])
def test_batches_of_large_records_are_small(tmp_path: pathlib.Path, size: int, wanted: int) -> None:
    path = str(tmp_path / 'data')
    with tf.io.TFRecordWriter(path) as writer:
        for _ in range(3):
            writer.write(bytes(size))
    assert batch_size([path]) == wanted
