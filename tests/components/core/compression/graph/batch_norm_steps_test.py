"""Fused batch norms in two steps: the same values, and the product as a tensor of its own."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph

from ..conftest import open_graph


class _Normed(tf.Module):
    def __init__(self, *, statistics: bool) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.parameters = [tf.Variable(random.uniform(0.5, 2.0, 3).astype(np.float32)) for _ in range(4)]
        self._statistics = statistics

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 2, 3), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        normed = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.parameters[0],
            offset=self.parameters[1],
            mean=self.parameters[2],
            variance=self.parameters[3],
            epsilon=0.01,
            is_training=False,
        )
        return {'y': normed.y + normed.batch_mean if self._statistics else tf.nn.relu(normed.y)}


def _graph(folder: pathlib.Path, *, statistics: bool) -> ServingGraph:
    module = _Normed(statistics=statistics)
    tf.saved_model.save(module, str(folder), signatures={'predict': module.predict})
    return open_graph(str(folder))


def test_values_stay_and_the_product_is_there(tmp_path: pathlib.Path) -> None:
    graph = _graph(tmp_path, statistics=False)
    steps = with_batch_norms_in_steps(graph.graph_def)
    assert not [node.op for node in steps.node if node.op.startswith('FusedBatchNorm')]
    (product,) = (f'{node.name}:0' for node in steps.node if node.name.endswith('_product'))
    inputs = {'x': tf.random.stateless_normal((5, 2, 2, 3), [1, 2])}
    output = graph.outputs['y']
    (expected,) = tf.function(lambda: graph.call(inputs, {}, [output]), autograph=False)()
    found = tf.function(lambda: graph.call(inputs, {}, [output, product], graph_def=steps), autograph=False)()
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    values = sorted(graph.stored_values().items())
    assert found[1].shape == (5, 2, 2, 3)
    assert len(values) == 4


@pytest.mark.parametrize('statistics', [True])
def test_one_whose_statistics_are_used_stays_fused(tmp_path: pathlib.Path, statistics: bool) -> None:
    graph = _graph(tmp_path, statistics=statistics)
    assert [node.op for node in with_batch_norms_in_steps(graph.graph_def).node].count(
        'FusedBatchNormV3'
    ) == 1
