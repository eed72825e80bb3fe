"""How the rate of training falls, and what a step of Adam does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training.optimizer import make_optimizer

pytestmark = pytest.mark.slow


def _rates(name: str, constant_steps: int) -> list[float]:
    optimizer = make_optimizer(name, 0.1, num_steps=100, constant_steps=constant_steps)
    rates = []
    for step in range(100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    return rates


@pytest.mark.parametrize('name', ['ADAM', 'SGD'])
def test_the_rate_is_constant_then_falls_to_a_hundredth(name: str) -> None:
    rates = _rates(name, 60)
    np.testing.assert_allclose(rates[:61], 0.1, rtol=1e-6)
    assert (np.diff(rates[60:]) < 0).all()
    np.testing.assert_allclose(rates[80], 0.1 * (0.5 * 0.99 + 0.01), rtol=1e-5)
    assert 0.001 < rates[99] < 0.0012


def test_a_rate_that_is_constant_to_the_end_does_not_fall() -> None:
    np.testing.assert_allclose(_rates('ADAM', 100), 0.1, rtol=1e-6)


def test_adam_is_that_of_keras() -> None:
    ours, of_keras = (_trained(make(0.01)) for make in (_constant_adam, keras.optimizers.Adam))
    for variable, expected in zip(ours, of_keras, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-5)


def _constant_adam(rate: float) -> keras.optimizers.Optimizer:
    return make_optimizer('ADAM', rate, num_steps=50, constant_steps=50)


def _trained(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    """Two variables after 50 steps along gradients of very different sizes."""
    random = np.random.default_rng(0)
    variables = [tf.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((3, 4), (5,))]
    optimizer.build(variables)

    @tf.function
    def step(gradients: list[tf.Tensor]) -> None:
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

    for _ in range(50):
        size = 10 ** random.normal()
        step([tf.constant((size * random.normal(size=v.shape)).astype(np.float32)) for v in variables])
    return [variable.numpy() for variable in variables]
