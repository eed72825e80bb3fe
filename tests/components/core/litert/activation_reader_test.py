"""The values of activations."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.litert.activation_reader import ActivationReader, activation_values


def test_values_are_those_of_the_model(digits_float: bytes, digits: dict[str, np.ndarray]) -> None:
    images = digits['x_eval'][:8]
    values = activation_values(digits_float, {'image': images})
    first, *_, last = values.values()
    np.testing.assert_array_equal(first, images)
    np.testing.assert_allclose(last.sum(axis=1), 1, atol=1e-5)


def test_values_of_an_example_do_not_depend_on_its_batch(many_operators: tuple[bytes, dict]) -> None:
    model, inputs = many_operators
    reader = ActivationReader(model)
    together = reader({'image': inputs['image'][:8]})
    for row in range(8):
        alone = reader({'image': inputs['image'][row : row + 1]})
        for name, values in alone.items():
            if together[name].shape[:1] == (8,):
                np.testing.assert_array_equal(values[0], together[name][row])
