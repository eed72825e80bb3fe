"""Kernels that a graph computes: they count in what is said of the weights, and are named."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weight_summary import summarize_weights
from tfx_edge.components.core.compression.weights.computed_kernels import made_kernels
from tfx_edge.components.core.errors import EdgeError

from ..conftest import make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow

_Kernel = Callable[['_Net'], tf.Tensor]


def _standardized(kernel: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    centred = kernel - tf.reduce_mean(kernel, axes, keepdims=True)
    return centred / (tf.math.reduce_std(kernel, axes, keepdims=True) + 1e-5)


_KERNELS: dict[str, tuple[_Kernel, str]] = {
    'weight norm': (lambda n: n.gain * n.kernel / tf.norm(n.kernel, axis=0, keepdims=True), 'kernel, gain'),
    'masked': (lambda n: n.kernel * n.mask, 'kernel'),
    'low rank': (lambda n: n.kernel + n.down @ n.up, 'kernel, up, down'),
    'standardized': (lambda n: _standardized(n.kernel, (0,)), 'kernel'),
    'softplus': (lambda n: tf.nn.softplus(n.kernel), 'kernel'),
    'tied by a factor': (lambda n: tf.transpose(0.5 * n.back), 'back'),
    'product alone': (lambda n: n.down @ n.up, 'up, down'),
}


class _Net(tf.Module):
    def __init__(self, kernel: _Kernel) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def weight(name: str, *shape: int) -> tf.Variable:
            return tf.Variable(random.normal(size=shape).astype(np.float32), name=name)

        self.kernel, self.back, self.gain = weight('kernel', 6, 20), weight('back', 20, 6), weight('gain', 20)
        self.down, self.up = weight('down', 6, 2), weight('up', 2, 20)
        self.mask = tf.Variable((random.random((6, 20)) > 0.25).astype(np.float32), trainable=False)
        self.head = weight('head', 20, 3)
        self._made = kernel

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name='x')])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'y': tf.nn.relu(x @ self._made(self)) @ self.head}


def _export(kernel: _Kernel, folder: pathlib.Path) -> str:
    module = _Net(kernel)
    tf.saved_model.save(module, str(folder), signatures={'serving_default': module.serve})
    return str(folder)


@pytest.mark.parametrize('kind', list(_KERNELS))
def test_computed_kernels_count_and_are_named(
    kind: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    kernel, names = _KERNELS[kind]
    graph = open_graph(_export(kernel, tmp_path / 'model'))
    values = prune(graph, make_pruning(0.5), make_options(0), None)
    head, made = summarize_weights(graph, values)
    assert (head.name, head.zeros, head.elements) == ('head', 30, 60)
    assert (made.name, made.elements) == (names, 120)
    assert made.zeros == (np.count_nonzero(_Net(kernel).mask.numpy() == 0) if kind == 'masked' else 0)
    assert made.distinct > 60
    (warning,) = (
        r for r in caplog.records if r.levelno == logging.WARNING and 'nothing to prune' in r.message
    )
    assert '120 of 180 weights (67 %)' in warning.message
    assert f'{names} (120)' in warning.message


def test_a_small_computed_kernel_is_no_warning(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'tfx_edge')

    class Net(_Net):
        @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name='x')])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.nn.relu(x @ self.kernel) @ tf.nn.softplus(self.head)}

    module = Net(lambda net: net.kernel)
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'serving_default': module.serve})
    graph = open_graph(str(tmp_path / 'model'))
    cluster(
        graph, ClusteringOptions(8, preserve_sparsity=True, include=(), exclude=()), make_options(0), None
    )
    (record,) = (r for r in caplog.records if 'nothing to cluster' in r.message)
    assert record.levelno == logging.INFO
    assert 'head (60)' in record.message


def test_convolutions_with_standardized_kernels_are_found(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 1, 4), (0, 0)), name='kernel')
    module.plain = tf.Variable(tf.random.stateless_normal((3, 3, 4, 4), (0, 1)), name='plain')

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu(tf.nn.conv2d(image, _standardized(module.kernel, (0, 1, 2)), 1, 'SAME'))
        return {'y': tf.nn.conv2d(x, tf.transpose(module.plain, (1, 0, 2, 3)), 1, 'SAME')}

    module.serve = tf.function(serve, input_signature=[tf.TensorSpec((None, 8, 8, 1), name='image')])
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'serving_default': module.serve})
    (kernel,) = made_kernels(open_graph(str(tmp_path / 'model')))
    assert (kernel.name, kernel.op, kernel.channel_axes) == ('kernel', 'Conv2D', (-1,))


def test_a_model_of_computed_kernels_alone_is_reported_which(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = tf.Module()
    module.v = tf.Variable(tf.random.stateless_normal((6, 4), (0, 0)), name='v')
    serve = tf.function(
        lambda x: {'y': x @ tf.math.l2_normalize(module.v, 0)},
        input_signature=[tf.TensorSpec((None, 6), name='x')],
    )
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'serving_default': serve})
    with pytest.raises(EdgeError, match='no weight to prune'):
        prune(open_graph(str(tmp_path / 'model')), make_pruning(0.5), make_options(0), None)
    assert any('24 of 24 weights (100 %)' in message and 'v (24)' in message for message in caplog.messages)
