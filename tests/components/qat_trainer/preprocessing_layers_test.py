"""A net with preprocessing layers is quantized as a whole: its layers are found in the file, and simulated."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfx_edge import proto
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.qat.deployment import plan_deployment
from tfx_edge.components.qat_trainer.options import qat_options

pytestmark = pytest.mark.slow


def _saved_model(folder: pathlib.Path) -> str:
    """Wide and deep, as TFX's taxi example: categories beside numbers."""
    numbers = keras.Input((4,), name='numbers')
    categories = [keras.Input((1,), dtype='int32', name=f'category_{index}') for index in range(2)]
    known = keras.Input((2,), dtype='int64', name='known')
    looked_up = layers.IntegerLookup(vocabulary=[10, 20, 30], output_mode='multi_hot')(known)
    wide = [layers.CategoryEncoding(num_tokens=5)(category) for category in categories]
    bins = layers.Discretization(bin_boundaries=[-1.0, 0.5])(numbers[:, :1])
    bins = layers.CategoryEncoding(num_tokens=3, output_mode='multi_hot')(bins)
    wide = layers.Dense(6, activation='relu')(layers.Concatenate()([*wide, looked_up, bins]))
    deep = layers.Dense(8, activation='relu')(layers.Normalization(mean=0.5, variance=2.0)(numbers))
    model = keras.Model([numbers, *categories, known], layers.Dense(3)(layers.Concatenate()([wide, deep])))
    model.export(folder, verbose=False)
    return str(folder)


def test_nothing_stays_float_or_unknown(tmp_path: pathlib.Path) -> None:
    folder = _saved_model(tmp_path)
    random = np.random.default_rng(0)
    batch = {
        'numbers': random.normal(size=(64, 4)).astype(np.float32),
        'category_0': random.integers(0, 5, (64, 1)).astype(np.int32),
        'category_1': random.integers(0, 5, (64, 1)).astype(np.int32),
        'known': random.choice([10, 20, 30, 7], (64, 2)).astype(np.int64),
    }
    graph = ServingGraph(folder, choose_signature(folder), in_float32=True)
    deployment = plan_deployment(graph, qat_options(proto.QuantizationAwareTraining()), batch)
    assert not deployment.fault
    assert not deployment.float_weights
    # From TensorFlow 2.21 on the converter multiplies by the reciprocal of what Normalization divides by: a constant
    # that the graph does not hold.
    multiplies = int(tf.__version__.split('.')[1]) >= 21
    expected = ['truediv/operand_1'] if multiplies else []
    assert ['/'.join(name.split('/')[-2:]) for name in deployment.not_simulated] == expected
    assert not deployment.kept_float
    assert len(deployment.arithmetic.kernels) == 3
