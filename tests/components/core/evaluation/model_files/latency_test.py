"""Latency beside another file, as the ratio of processor times."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files.latency import measure_latency


class Products(tf.Module):
    """So many products of a vector with a matrix of 128 by 128."""

    def __init__(self, count: int) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.factors = [
            tf.Variable(random.normal(0, 0.06, (128, 128)).astype(np.float32)) for _ in range(count)
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, 128], name='x')])
    def serve(self, x):
        for factor in self.factors:
            x = tf.nn.relu(x @ factor)
        return {'y': x}


@pytest.mark.slow
def test_the_ratio_is_that_of_the_work(as_float_model):
    few, many = as_float_model(Products(4)), as_float_model(Products(16))
    found = measure_latency(many, few)
    assert 2.5 < found.ratio < 6.5
    assert found.ratio_low <= found.ratio <= found.ratio_high
    assert found.milliseconds > found.baseline_milliseconds > 0


def test_a_file_beside_itself_takes_the_same_time(float_net):
    assert measure_latency(float_net, float_net).ratio == pytest.approx(1.0, abs=0.25)


def test_integer_inputs_run_too(quantized, images, float_net):
    assert measure_latency(quantized(images, io='INT8'), float_net, rounds=3).rounds == 3


def test_a_damaged_file_is_refused_in_one_line(float_net):
    with pytest.raises(EdgeError, match='cannot be loaded'):
        measure_latency(float_net[:100], float_net)
