"""Tensors of the deployed file are recognized by their values, and by name only where values are all alike."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.graph.tensor_matching import match_constants, match_tensors

from ..conftest import open_graph


class _Dead(tf.Module):
    """Two rectified branches that are zero throughout, and a factor that is computed of two variables."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = tf.Variable(np.array([0.5, 2.0, 3.0], np.float32), name='gain')
        self.scale = tf.Variable(np.array([3.0, 0.25, 1.0], np.float32), name='scale')

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.nn.relu(-1.0 - tf.abs(x), name='first')
        second = tf.nn.relu(-2.0 - tf.abs(x), name='second')
        return {'y': (x + first + second) * (self.gain * self.scale)}


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Dead()
    folder = str(tmp_path_factory.mktemp('dead') / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def test_equal_tensors_of_one_value_are_reported_by_name(graph: ServingGraph) -> None:
    inputs = {'x': np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    zeros = np.zeros((4, 3), np.float32)
    found = match_tensors(graph, inputs, {'model/second;add': zeros, 'second': zeros, 'nameless': zeros})
    assert list(found) == ['second']
    assert found['second'].endswith('second:0')


def test_constants_are_what_static_tensors_amount_to(graph: ServingGraph) -> None:
    folded = {'factor': np.array([1.5, 0.5, 3.0], np.float32), 'gain': np.array([0.5, 2.0, 3.0], np.float32)}
    found = match_constants(graph, folded)
    assert list(found) == ['factor']
    (tensor,) = found['factor']
    assert tensor.split(':')[0] in {node.name for node in graph.graph_def.node if node.op == 'Mul'}
