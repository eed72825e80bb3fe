"""Convolutions with groups, in functions of their own as Keras has them and without: values, gradients, weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import open_graph

_IMAGES = np.random.default_rng(1).normal(size=(3, 6, 6, 4)).astype(np.float32)


class _Net(tf.Module):
    """Two groups with a factor behind for each channel, and as many groups as channels."""

    def __init__(self, wrap: Callable[..., Callable[..., tf.Tensor]]) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.halves = tf.Variable(random.normal(size=(3, 3, 2, 8)).astype(np.float32), name='halves')
        self.factor = tf.Variable(random.normal(size=8).astype(np.float32), name='factor')
        self.single = tf.Variable(random.normal(size=(2, 2, 1, 8)).astype(np.float32), name='single')
        self.convolved = wrap(lambda x, kernel: tf.nn.conv2d(x, kernel, 1, 'SAME'))

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 4), tf.float32, name='image')])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(self.convolved(image, self.halves) * self.factor)
        return {'y': self.convolved(hidden, self.single)}


def _compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    compiled: Callable[..., tf.Tensor] = tf.function(function, jit_compile=True)
    return compiled


@pytest.fixture(params=[_compiled, lambda function: function], ids=['a function', 'plain'], scope='module')
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    net, folder = _Net(request.param), tmp_path_factory.mktemp('grouped')
    tf.saved_model.save(net, str(folder), signatures={'serving_default': net.serve})
    return open_graph(str(folder))


def _call(graph: ServingGraph, values: dict[str, tf.Tensor]) -> tf.Tensor:
    return graph.call({'image': tf.constant(_IMAGES)}, values, [graph.outputs['y']])[0]


def _by_hand(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each output channel from the input channels of its group."""
    count = image.shape[-1] // kernel.shape[2]
    parts = zip(np.split(image, count, -1), np.split(kernel, count, -1), strict=True)
    return np.concatenate([tf.nn.conv2d(part, weights, 1, 'SAME') for part, weights in parts], -1)


def test_the_graph_computes_the_convolutions(graph: ServingGraph) -> None:
    values = {variable.name: variable.value for variable in graph.variables}
    hidden = np.maximum(_by_hand(_IMAGES, values['halves']) * values['factor'], 0)
    expected = _by_hand(hidden, values['single'])
    found = tf.function(lambda: _call(graph, {}), autograph=False)()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_gradients_reach_their_weights(graph: ServingGraph) -> None:
    """TensorFlow itself has no gradient of a convolution with groups on a CPU."""
    step = 1e-2

    @tf.function(autograph=False)
    def gradients() -> list[tf.Tensor]:
        values = {v.key: tf.constant(v.value) for v in graph.variables}
        return tf.gradients(tf.reduce_sum(_call(graph, values) ** 2), list(values.values()))

    @tf.function(autograph=False)
    def loss(moved: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.reduce_sum(_call(graph, moved) ** 2)

    for variable, gradient in zip(graph.variables, gradients(), strict=True):
        direction = gradient.numpy() / np.linalg.norm(gradient)
        ends = [
            float(loss({variable.key: tf.constant(variable.value + sign * step * direction)}))
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(np.linalg.norm(gradient)), rel=0.01)


def test_their_weights_have_output_channels_and_what_is_folded_in(graph: ServingGraph) -> None:
    found = {
        s.variable.name: (s.op, s.channel_axes, s.sum_axes, len(s.scales)) for s in find_weight_sites(graph)
    }
    assert found == {'halves': ('Conv2D', (3,), (2,), 1), 'single': ('Conv2D', (3,), (2,), 0)}
