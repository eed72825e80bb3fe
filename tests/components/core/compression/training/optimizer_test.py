"""How the rate of training falls."""

from __future__ import annotations

import numpy as np
import pytest

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
