"""Convolutions with batch norm folded in: the same results and gradients, and a bias of whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
)
from tfx_edge.components.core.compression.bias_quantization import find_biases
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedConstant, DeployedKernel
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from .conftest import open_graph

_C = 4


class _Normed(tf.Module):
    """(conv + bias) * scale - shift; the convolution is plain, depthwise, or of one dimension."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        shape = {'plain': (3, 3, 2, _C), 'depthwise': (3, 3, 2, 2), 'one': (3, 2, _C)}[kind]
        self.kind = kind
        self.kernel = tf.Variable(random.normal(size=shape).astype(np.float32), name='kernel')
        for name in ('bias', 'scale', 'shift'):
            setattr(self, name, tf.Variable(random.normal(size=_C).astype(np.float32), name=name))
        size = (None, 8, 2) if kind == 'one' else (None, 8, 8, 2)
        self.predict = tf.function(self._predict, [tf.TensorSpec(size, tf.float32, name='image')])

    def _predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        if self.kind == 'one':
            hidden = tf.nn.conv1d(image, self.kernel, 1, 'SAME')
        elif self.kind == 'depthwise':
            hidden = tf.nn.depthwise_conv2d(image, self.kernel, [1, 1, 1, 1], 'SAME')
        else:
            hidden = tf.nn.conv2d(image, self.kernel, 1, 'SAME')
        return {'y': (hidden + self.bias) * self.scale - self.shift}


@pytest.fixture(scope='module', params=['plain', 'depthwise', 'one'])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Normed(request.param)
    folder = str(tmp_path_factory.mktemp(request.param) / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def _simulated(graph: ServingGraph) -> ActivationQuantization:
    steps = with_batch_norms_in_steps(graph.graph_def)
    (site,) = find_weight_sites(graph)
    stored = {v.name: v.value for v in graph.variables}
    whole = stored['bias'] * stored['scale'] - stored['shift']
    operator = 'DEPTHWISE_CONV_2D' if site.op.startswith('Depthwise') else 'CONV_2D'
    constant = DeployedConstant('k', site.variable.value, 8, 0, True, operator, ('y',), 'image', whole)
    (bias,) = find_biases(graph, steps, [(DeployedKernel(site, constant), 'image')], ())
    activation = SimulatedActivation('image', graph.inputs['image'], 'image', None)
    return ActivationQuantization(graph, [activation], {'image': (-1.0, 1.0)}, biases=[bias])


def _input(graph: ServingGraph) -> np.ndarray:
    shape = graph.signature.inputs['image'].shape
    integers = np.random.default_rng(3).integers(-127, 128, (2, *shape[1:]))
    return (integers * (2 / 255)).astype(np.float32)


def test_results_are_whole_steps_of_input_and_kernel(graph: ServingGraph) -> None:
    simulated = _simulated(graph)
    values = {v.key: tf.constant(v.value) for v in graph.variables}
    fetch = [graph.outputs['y']]
    nothing = {'image': tf.zeros_like(_input(graph))}
    (bias,) = tf.function(lambda: simulated.call(nothing, values, fetch), autograph=False)()
    (site,) = find_weight_sites(graph)
    (folded,) = folded_kernels(graph, (site,)).values()
    others = tuple(axis for axis in range(folded.ndim) if axis not in site.channel_axes)
    step = simulated.step(graph.inputs['image']) * np.abs(folded).max(others).ravel() / 127
    in_steps = np.asarray(bias).reshape(-1, _C)[0] / step
    np.testing.assert_allclose(in_steps, np.rint(in_steps), atol=2e-3)
    image = {'image': tf.constant(_input(graph))}
    (found,) = tf.function(lambda: simulated.call(image, values, fetch), autograph=False)()
    (plain,) = tf.function(lambda: graph.call(image, values, fetch), autograph=False)()
    assert np.abs(found - plain).max() < step.max()


def test_one_sum_follows_the_convolution(graph: ServingGraph) -> None:
    simulated = _simulated(graph)
    values = {v.key: tf.constant(v.value) for v in graph.variables}

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        return simulated.call({'image': tf.constant(_input(graph))}, values, [graph.outputs['y']])

    operations = run.get_concrete_function().graph.get_operations()
    large = [
        op.type for op in operations if op.outputs and op.outputs[0].shape.rank == len(_input(graph).shape)
    ]
    assert large.count('BiasAdd') == 1
    assert not {'Mul', 'Sub'} & set(large[large.index('BiasAdd') :])


def test_all_operands_get_the_gradient_of_the_steps(graph: ServingGraph) -> None:
    simulated = _simulated(graph)
    variables = {v.key: tf.Variable(v.value) for v in graph.variables}
    image = {'image': tf.constant(_input(graph))}

    def gradients(folded: bool) -> list[tf.Tensor]:
        values = {key: tf.identity(variable) for key, variable in variables.items()}
        evaluate = simulated.call if folded else graph.call
        (y,) = evaluate(image, values, [graph.outputs['y']])
        weights = np.random.default_rng(4).normal(size=(2, *y.shape[1:])).astype(np.float32)
        return tf.gradients(tf.reduce_sum(y * weights), list(variables.values()))

    found, expected = (
        tf.function(lambda folded=folded: gradients(folded), autograph=False)() for folded in (True, False)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_tensors_between_keep_their_values(graph: ServingGraph) -> None:
    simulated = _simulated(graph)
    (site,) = find_weight_sites(graph)
    values = {v.key: tf.constant(v.value) for v in graph.variables}
    image = {'image': tf.constant(_input(graph))}
    fetch = [f'{site.node}:0', graph.outputs['y']]
    between, _ = tf.function(lambda: simulated.call(image, values, fetch), autograph=False)()
    plain, _ = tf.function(lambda: graph.call(image, values, fetch), autograph=False)()
    np.testing.assert_allclose(between, plain, rtol=1e-5, atol=1e-5)


def test_what_depends_on_no_input_is_imported_once(
    graph: ServingGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each weight: on a large net the imports would take most of the time before the first step."""
    simulated = _simulated(graph)
    values = {v.key: tf.constant(v.value) for v in graph.variables}
    image = {'image': tf.constant(_input(graph))}
    fetched: list[list[str]] = []
    call = ServingGraph.call

    def counted(
        self: ServingGraph, inputs: object, values: object, fetch: list[str], **others: object
    ) -> object:
        fetched.append(list(fetch))
        return call(self, inputs, values, fetch, **others)

    monkeypatch.setattr(ServingGraph, 'call', counted)
    tf.function(lambda: simulated.call(image, values, [graph.outputs['y']]), autograph=False)()
    constants, results = fetched
    assert len(constants) >= 3
    assert len(results) == 1
