"""Activations and constants as integers: which values they can take, and how halves are rounded."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
    SimulatedConstant,
)
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph

from .conftest import open_graph


class _Pooled(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = tf.Variable(np.array([0.1, -0.33, 1.0], np.float32), name='shift')

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 2, 3), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'y': tf.nn.avg_pool2d(x, 2, 2, 'VALID', name='pool') + self.shift}


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Pooled()
    folder = str(tmp_path_factory.mktemp('pooled') / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def _tensor(graph: ServingGraph, op: str) -> str:
    (name,) = (node.name for node in graph.graph_def.node if node.op == op)
    return f'{name}:0'


def _run(graph: ServingGraph, simulated: ActivationQuantization, x: np.ndarray, fetch: str) -> np.ndarray:
    inputs = {'x': tf.constant(x)}
    (found,) = tf.function(lambda: simulated.call(inputs, {}, [fetch]), autograph=False)()
    return np.asarray(found)


def test_averages_half_way_are_rounded_away_from_the_integer_zero(graph: ServingGraph) -> None:
    pool = _tensor(graph, 'AvgPool')
    # A step of 1 and the zero point 0: real numbers are the integers of the file.
    activations = [SimulatedActivation('pool', pool, 'pool', None)]
    simulated = ActivationQuantization(graph, activations, {'pool': (-128.0, 127.0)})
    x = np.zeros((1, 2, 2, 3), np.float32)
    x[0, 0, 0] = [2.0, -2.0, 6.0]
    found = _run(graph, simulated, x, pool).ravel()
    np.testing.assert_array_equal(found, [1.0, -1.0, 2.0])


def test_sixteen_bits_are_symmetric_and_one_number_trains_both_ends(graph: ServingGraph) -> None:
    pool = _tensor(graph, 'AvgPool')
    activations = [SimulatedActivation('pool', pool, 'pool', None)]
    simulated = ActivationQuantization(graph, activations, {'pool': (-1.0, 3.0)}, bits=16)
    assert simulated.ranges() == {'pool': (-3.0, 3.0)}
    assert len(simulated.variables) == 1
    simulated.variables[0].assign(np.log(2.0))
    low, high = simulated.ranges()['pool']
    assert low == -high == pytest.approx(-6.0)
    x = np.random.default_rng(0).uniform(-9, 9, (4, 2, 2, 3)).astype(np.float32)
    integers = _run(graph, simulated, x, pool) / (high / 32767)
    assert np.abs(integers - np.rint(integers)).max() < 0.02
    assert np.abs(integers).max() <= 32767.02
    assert not _run(graph, simulated, np.zeros_like(x), pool).any()


@pytest.mark.parametrize('symmetric', [False, True])
def test_constants_are_rounded_over_their_own_range(graph: ServingGraph, symmetric: bool) -> None:
    shift = np.array([0.1, -0.33, 1.0], np.float32)
    (read,) = graph.variables[0].reads
    constant = SimulatedConstant('shift', (read,), 8, symmetric)
    simulated = ActivationQuantization(graph, [], {}, [constant])
    found = _run(graph, simulated, np.zeros((1, 2, 2, 3), np.float32), graph.outputs['y']).ravel()
    step = (2.0 / 254) if symmetric else (1.33 / 255)
    assert not np.array_equal(found, shift)
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-3)
    assert np.abs(found - shift).max() <= step / 2 + 1e-6
