"""Where training ends in NaN for a value of an example, the error names the example."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError, NotFiniteError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.signature import TensorSpec
from tfx_edge.components.training.training_examples import TrainingExamples, faults_of_examples

pytestmark = pytest.mark.slow

_MESSAGE = 'the loss is inf at step 3; expected a finite number. Lower FineTuning.learning_rate (now 0.001).'


def _examples(path: pathlib.Path, value: float) -> TrainingExamples:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in [*[(1.0, 2.0)] * 5, (0.5, value), (1.0, -2.0)]:
            example = tf.train.Example()
            example.features.feature['x'].float_list.value.extend(row)
            writer.write(example.SerializeToString())
    return TrainingExamples([str(path)], ExampleParser({'x': TensorSpec((None, 2), tf.float32)}), 4, 0)


@pytest.mark.parametrize(
    ('value', 'said'),
    [(np.nan, 'holds NaN, and the loss is inf at step 3'), (1e30, 'holds 1e+30 in magnitude, 5e+29 times')],
)
def test_the_example_is_named_and_not_the_rate(tmp_path: pathlib.Path, value: float, said: str) -> None:
    with pytest.raises(EdgeError) as raised, faults_of_examples(_examples(tmp_path / 'data', value)):
        raise NotFiniteError(_MESSAGE)
    assert str(raised.value).startswith(f"record 5 of {tmp_path / 'data'}: feature 'x' {said}")
    assert 'the loss is inf at step 3' in str(raised.value)
    assert 'learning_rate' not in str(raised.value)


def test_the_rate_is_named_where_no_example_is_to_blame(tmp_path: pathlib.Path) -> None:
    with (
        pytest.raises(NotFiniteError, match='learning_rate'),
        faults_of_examples(_examples(tmp_path / 'data', 3.0)),
    ):
        raise NotFiniteError(_MESSAGE)
