"""Which activations hold another one's values, and that they do."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.moved_values import moved_values


def test_moved_values_are_those_of_the_other_activation_and_zeros(many_operators: tuple[bytes, dict]) -> None:
    model, inputs = many_operators
    values = ActivationReader(model)({'image': inputs['image'][:1]})
    moved = moved_values(model)
    assert len(moved) >= 2
    for name, source in moved.items():
        found, wanted = np.sort(values[name], axis=None), np.sort(values[source], axis=None)
        zeros = np.zeros(found.size - wanted.size, np.float32)
        np.testing.assert_array_equal(found, np.sort(np.concatenate([wanted, zeros])))
