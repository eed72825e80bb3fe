"""Logarithms and roots near zero: found by what their inputs become in integers."""

from __future__ import annotations

import pytest

from tests.golden import files
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.qat.steep_operators import steep_operators


@pytest.mark.parametrize(
    ('low', 'high', 'mode', 'is_found'),
    [
        (1e-4, 5.0, 'INT8', True),
        (1e-4, 5.0, 'INT16X8', False),
        (1e-6, 5.0, 'INT16X8', True),
        (0.5, 5.0, 'INT8', False),
        # Where the float model itself reaches 0, there is nothing to save.
        (0.0, 5.0, 'INT8', False),
        (-1.0, 5.0, 'INT8', False),
    ],
)
def test_a_logarithm_of_what_becomes_zero(low: float, high: float, mode: str, is_found: bool) -> None:
    model = files.float_model('logarithm')
    (logarithm,) = [op for op in inspect_model(model).operators if op.name == 'LOG']
    before = inspect_model(model).operators[-2].output
    found = steep_operators(model, {before: (low, high)}, mode)
    assert bool(found) is is_found
    for operator in found:
        assert operator.outputs == (logarithm.output, before)
        assert operator.name.startswith("LOG '")
