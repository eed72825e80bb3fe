"""Inputs that a file rounds to integers, and those that it reads as real numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.evaluation.model_files.rounded_inputs import rounded_inputs


def test_a_float_input_that_is_only_rounded_is_one(digits_int8: bytes) -> None:
    assert rounded_inputs(digits_int8) == ('image',)


def test_an_input_that_is_read_as_it_is_is_none(digits_float: bytes) -> None:
    assert rounded_inputs(digits_float) == ()


@pytest.mark.slow
def test_an_input_that_is_tested_for_nan_is_none() -> None:
    """The file handles what is missing itself."""
    kernel = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)

    def serve(x: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.not_equal(x, x), tf.zeros_like(x), x) @ kernel

    function = tf.function(serve, input_signature=[tf.TensorSpec((1, 4), tf.float32, name='x')])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rows = np.random.default_rng(1).normal(size=(20, 1, 4)).astype(np.float32)
    converter.representative_dataset = lambda: ([row] for row in rows)
    assert rounded_inputs(converter.convert()) == ()
