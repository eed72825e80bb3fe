"""Biases are whole numbers of steps of the products that they are added to, batch norm folded in."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.bias_quantization import SimulatedBias, find_biases, rounded_operand
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedConstant, DeployedKernel
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from .conftest import open_graph

_SCALE = np.array([0.5, -2.0, 1.5, 3.0], np.float32)
_BIAS = np.array([0.1, 0.2, -0.3, 0.7], np.float32)
_SHIFT = np.array([0.33, -1.0, 0.25, 0.125], np.float32)


class _Normed(tf.Module):
    """(conv + bias) * scale - shift, which the converter folds into one convolution."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 1, 4)).astype(np.float32), name='kernel')
        self.bias = tf.Variable(_BIAS, name='bias')
        self.scale = tf.Variable(_SCALE, name='scale')
        self.shift = tf.Variable(_SHIFT, name='shift')

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.bias_add(tf.nn.conv2d(image, self.kernel, 1, 'SAME'), self.bias)
        return {'y': tf.nn.relu(hidden * self.scale - self.shift)}


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Normed()
    folder = str(tmp_path_factory.mktemp('normed') / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def _kernel(graph: ServingGraph, bias: np.ndarray | None) -> DeployedKernel:
    (site,) = find_weight_sites(graph)
    values = site.variable.value.transpose(3, 0, 1, 2)
    return DeployedKernel(site, DeployedConstant('k', values, 8, 0, True, 'CONV_2D', ('y',), 'image', bias))


def _found(graph: ServingGraph, bias: np.ndarray | None) -> SimulatedBias | None:
    steps = with_batch_norms_in_steps(graph.graph_def)
    found = find_biases(graph, steps, [(_kernel(graph, bias), 'image')], ())
    assert len(found) <= 1
    return next(iter(found), None)


def _rounded(
    graph: ServingGraph, bias: SimulatedBias, values: dict[str, tf.Tensor], step: tf.Tensor
) -> tf.Tensor:
    steps = with_batch_norms_in_steps(graph.graph_def)
    return rounded_operand(bias, graph.constants(values, bias.tensors, graph_def=steps), values, step)


def test_the_whole_bias_is_rounded_to_steps_of_each_channel(graph: ServingGraph) -> None:
    found = _found(graph, _BIAS * _SCALE - _SHIFT)
    assert found is not None
    assert [op for op, _ in found.steps] == ['BiasAdd', 'Mul', 'Sub']
    values = {key: tf.constant(value) for key, value in graph.stored_values().items()}
    input_step = tf.constant(0.05)
    rounded = tf.function(lambda: _rounded(graph, found, values, input_step), autograph=False)()
    (folded,) = folded_kernels(graph, (found.kernel.site,)).values()
    step = 0.05 * np.abs(folded).max((0, 1, 2)) / 127
    whole = (_BIAS * _SCALE - np.asarray(rounded)) / step
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-3)
    assert np.abs(np.asarray(rounded) - _SHIFT).max() <= step.max() / 2 + 1e-6
    assert not np.array_equal(np.asarray(rounded), _SHIFT)


@pytest.mark.parametrize('bias', [None, _BIAS])
def test_a_file_without_a_bias_or_with_another_has_none_here(
    graph: ServingGraph, bias: np.ndarray | None
) -> None:
    assert _found(graph, bias) is None


def test_a_bias_beyond_int32_is_left_to_the_engine_s_wider_scale(graph: ServingGraph) -> None:
    found = _found(graph, _BIAS * _SCALE - _SHIFT)
    assert found is not None
    values = {key: tf.constant(value) for key, value in graph.stored_values().items()}
    values[found.kernel.site.variable.key] = tf.zeros((3, 3, 1, 4))
    rounded = tf.function(
        lambda: _rounded(graph, found, values, tf.constant(0.05)),
        autograph=False,
    )()
    np.testing.assert_array_equal(np.asarray(rounded), _SHIFT)
