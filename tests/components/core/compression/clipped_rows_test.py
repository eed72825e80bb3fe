"""The gradient of an input's range, from the rows that hold a value outside of it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
)
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph

from .conftest import open_graph

_BATCH = 5


class _Kernels(tf.Module):
    """A convolution of the input, and a product with the flattened input."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 2, 4)).astype(np.float32), name='kernel')
        self.matrix = tf.Variable(random.normal(size=(72, 4)).astype(np.float32), name='matrix')

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 6, 2), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            'convolved': tf.nn.conv2d(x, self.kernel, 1, 'SAME'),
            'product': tf.reshape(x, (-1, 72)) @ self.matrix,
        }


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Kernels()
    folder = str(tmp_path_factory.mktemp('kernels') / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def _gradients(y: tf.Tensor, variables: list[tf.Variable]) -> list[tf.Tensor]:
    upstream = np.random.default_rng(2).normal(size=(_BATCH, *y.shape[1:])).astype(np.float32)
    return tf.gradients(y, variables, tf.constant(upstream))


@pytest.mark.parametrize('output', ['convolved', 'product'])
@pytest.mark.parametrize('clipped', [(), (1,), (0, 3, 4)])
def test_the_range_gets_the_gradient_of_the_values_outside(
    graph: ServingGraph, output: str, clipped: tuple[int, ...]
) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (_BATCH, 6, 6, 2)).astype(np.float32)
    x[list(clipped), 2, 3] = [1.5, -1.75]
    activation = SimulatedActivation('x', graph.inputs['x'], 'x', None)
    simulated = ActivationQuantization(graph, [activation], {'x': (-1.0, 1.0)})
    values = {v.key: tf.Variable(v.value) for v in graph.variables}
    variables = [*simulated.variables, *values.values()]

    def by_simulation() -> list[tf.Tensor]:
        tensors = {key: tf.identity(value) for key, value in values.items()}
        (y,) = simulated.call({'x': tf.constant(x)}, tensors, [graph.outputs[output]])
        return [g for g in _gradients(y, variables) if g is not None]

    def by_definition() -> list[tf.Tensor]:
        low, high = (end * tf.exp(log) for end, log in zip((-1.0, 1.0), simulated.variables, strict=True))
        rounded = tf.quantization.fake_quant_with_min_max_vars(tf.constant(x), low, high)
        (y,) = graph.call(
            {'x': rounded}, {k: tf.identity(v) for k, v in values.items()}, [graph.outputs[output]]
        )
        return [g for g in _gradients(y, variables) if g is not None]

    found, expected = (tf.function(f, autograph=False)() for f in (by_simulation, by_definition))
    assert len(found) == len(expected) == 3
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert np.any(found[:2]) == bool(clipped)


def test_rows_without_a_clipped_value_are_left_out(graph: ServingGraph) -> None:
    x = np.zeros((_BATCH, 6, 6, 2), np.float32)
    x[3] = 2.0
    activation = SimulatedActivation('x', graph.inputs['x'], 'x', None)
    simulated = ActivationQuantization(graph, [activation], {'x': (-1.0, 1.0)})
    values = {v.key: v.value for v in graph.variables}

    @tf.function(autograph=False)
    def computed() -> tf.Tensor:
        (y,) = simulated.call({'x': tf.constant(x)}, values, [graph.outputs['convolved']])
        tf.gradients(y, simulated.variables)
        # Operations whose results nothing uses are not run.
        (scattered,) = (op for op in y.graph.get_operations() if op.type == 'ScatterNd')
        assert scattered.inputs[1].op.type == 'Conv2DBackpropInput'
        return scattered.inputs[1]

    assert computed().shape == (1, 6, 6, 2)
