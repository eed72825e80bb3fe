"""The integers of quantized numbers, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tfx_edge.components.core import integer_types


@pytest.mark.parametrize('bits', [8, 16])
def test_integers_are_those_of_the_type(bits: int) -> None:
    limits = np.iinfo(f'int{bits}')
    assert integer_types.BOUNDS[f'INT{bits}'] == (limits.min, limits.max)
    assert integer_types.narrow_bounds(bits) == (limits.min + 1, limits.max)
    assert integer_types.levels(bits) == int(limits.max) - int(limits.min) + 1
    assert integer_types.steps(bits) == integer_types.narrow_steps(bits) + 1


def test_figures_of_the_specification() -> None:
    assert [integer_types.largest(bits) for bits in (4, 8, 16)] == [7, 127, 32767]
    assert (integer_types.steps(8), integer_types.narrow_steps(16)) == (255, 65534)
    assert integer_types.BOUNDS['UINT8'] == (0, 255)


def test_scale_of_8_bits_spans_the_range_and_of_16_its_larger_side() -> None:
    assert integer_types.activation_scale(-1.0, 2.0, 8) == 3.0 / 255
    assert integer_types.activation_scale(-4.0, 2.0, 16) == 4.0 / 32767
