"""Variables that are read inside of loops and branches: same results, right gradients, and never an exception."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.graph.lifted_variables import FUNCTION_ATTRIBUTES, called_functions
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import open_graph

_INPUT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


class _Module(tf.Module):
    """Two matrices, and a function of them and an input."""

    def __init__(self, function: Callable[[_Module, tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(0, 0.5, (4, 4)).astype(np.float32), name='first')
        self.second = tf.Variable(random.normal(0, 0.5, (4, 4)).astype(np.float32), name='second')
        self.call = tf.function(
            lambda x: {'y': function(self, x)}, input_signature=[tf.TensorSpec((3, 4), tf.float32, name='x')]
        )

    def exported(self, folder: pathlib.Path) -> ServingGraph:
        tf.saved_model.save(self, str(folder), signatures={'serving_default': self.call})
        return open_graph(str(folder))


def _loop(module: _Module, x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(
        lambda i, h: i < 3, lambda i, h: (i + 1, tf.tanh(h @ module.first + x @ module.second)), (0, x)
    )[1]


def _nested_loop(module: _Module, x: tf.Tensor) -> tf.Tensor:
    def inner(h: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda i, g: i < 2, lambda i, g: (i + 1, tf.tanh(g @ module.second)), (0, h))[1]

    return tf.while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, inner(h @ module.first)), (0, x))[1]


def _branch(module: _Module, x: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(x) < 1, lambda: x @ module.first, lambda: x @ module.second)


def _switch(module: _Module, x: tf.Tensor) -> tf.Tensor:
    index = tf.cast(tf.reduce_sum(x) < 1, tf.int32)
    return tf.switch_case(
        index, [lambda: x @ module.first, lambda: tf.tanh(x @ module.second @ module.first)]
    )


def _branch_in_a_loop(module: _Module, x: tf.Tensor) -> tf.Tensor:
    def step(i: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return i + 1, tf.cond(i < 1, lambda: tf.tanh(h @ module.first), lambda: h @ module.second)

    return tf.while_loop(lambda i, h: i < 3, step, (0, x))[1]


def _lookup_in_a_loop(module: _Module, x: tf.Tensor) -> tf.Tensor:
    indices = tf.cast(tf.abs(x) * 3, tf.int32)[:, 0]
    return tf.while_loop(
        lambda i, h: i < 2, lambda i, h: (i + 1, h @ module.first + tf.gather(module.second, indices)), (0, x)
    )[1]


_FUNCTIONS = [_loop, _nested_loop, _branch, _branch_in_a_loop, _lookup_in_a_loop]


@pytest.mark.parametrize('function', _FUNCTIONS)
def test_outputs_and_gradients_are_those_of_the_original(
    function: Callable[[_Module, tf.Tensor], tf.Tensor], tmp_path: pathlib.Path
) -> None:
    module = _Module(function)
    graph = module.exported(tmp_path)
    assert [(variable.name, variable.trainable) for variable in graph.variables] == [
        ('first', True),
        ('second', True),
    ]
    with tf.GradientTape() as tape:
        expected = module.call(tf.constant(_INPUT))['y']
        loss = tf.reduce_sum(tf.square(expected))
    gradients = tape.gradient(loss, [module.first, module.second])

    @tf.function(autograph=False)
    def replaced() -> tuple[tf.Tensor, list[tf.Tensor]]:
        values = {v.key: tf.constant(v.value) for v in graph.variables}
        (output,) = graph.call({'x': tf.constant(_INPUT)}, values, list(graph.outputs.values()))
        found = tf.gradients(tf.reduce_sum(tf.square(output)), list(values.values()))
        return output, [tf.zeros((4, 4)) if g is None else tf.convert_to_tensor(g) for g in found]

    output, found = replaced()
    np.testing.assert_allclose(output, expected, atol=1e-6)
    for gradient, right in zip(found, gradients, strict=True):
        right = np.zeros((4, 4)) if right is None else tf.convert_to_tensor(right)
        np.testing.assert_allclose(gradient, right, atol=1e-5)


@pytest.mark.parametrize('function', _FUNCTIONS)
def test_other_values_of_the_variables_reach_the_bodies(
    function: Callable[[_Module, tf.Tensor], tf.Tensor], tmp_path: pathlib.Path
) -> None:
    module = _Module(function)
    graph = module.exported(tmp_path)
    values = {v.key: tf.constant(2 * v.value) for v in graph.variables}

    @tf.function(autograph=False)
    def replaced() -> list[tf.Tensor]:
        return graph.call({'x': tf.constant(_INPUT)}, values, list(graph.outputs.values()))

    module.first.assign(2 * module.first)
    module.second.assign(2 * module.second)
    np.testing.assert_allclose(replaced()[0], module.call(tf.constant(_INPUT))['y'], atol=1e-5)


@pytest.mark.parametrize('function', _FUNCTIONS)
def test_the_weights_of_bodies_are_found(
    function: Callable[[_Module, tf.Tensor], tf.Tensor], tmp_path: pathlib.Path
) -> None:
    sites = find_weight_sites(_Module(function).exported(tmp_path))
    assert [site.variable.name for site in sites] == ['first', 'second']
    assert not any(site.scales for site in sites)


def test_every_function_that_is_called_is_there_once(tmp_path: pathlib.Path) -> None:
    graph = _Module(_nested_loop).exported(tmp_path)
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    called = [name for node in nodes if node.op in FUNCTION_ATTRIBUTES for name in called_functions(node)]
    assert sorted(function.signature.name for function in functions) == sorted(called)


def test_a_variable_that_a_loop_assigns_is_left_as_it_is(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    def assigning(module: _Module, x: tf.Tensor) -> tf.Tensor:
        def step(i: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            module.second.assign_add(tf.ones((4, 4)))
            return i + 1, h @ module.first @ module.second

        return tf.while_loop(lambda i, h: i < 3, step, (0, x))[1]

    graph = _Module(assigning).exported(tmp_path)
    with caplog.at_level('INFO'):
        sites = find_weight_sites(graph)
    assert [site.variable.name for site in sites] == ['first']
    assert 'second (4x4) is left as it is: it is used by more than reads' in caplog.text


def test_a_variable_of_a_switch_is_left_as_it_is(tmp_path: pathlib.Path) -> None:
    module = _Module(_switch)
    graph = module.exported(tmp_path)

    @tf.function(autograph=False)
    def called() -> list[tf.Tensor]:
        return graph.call({'x': tf.constant(_INPUT)}, {}, list(graph.outputs.values()))

    assert find_weight_sites(graph) == ()
    np.testing.assert_allclose(called()[0], module.call(tf.constant(_INPUT))['y'], atol=1e-6)
