"""What a range cuts off, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfx_edge.components.core.range_clipping import CELLS, clipping, position_counts

cells = arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(-300, 560))
inside = arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, CELLS - 1))


def plain_clipping(values: np.ndarray) -> float:
    """By the definition, value by value."""
    values = np.clip(values, -2 * CELLS, 3 * CELLS - 1)
    cut = float(np.abs(values - np.clip(values, 0, CELLS - 1)).sum())
    median = np.sort(values)[(len(values) + 1) // 2 - 1]
    return cut / (cut + float(np.abs(values - median).sum())) if cut else 0.0


@given(cells)
def test_clipping_is_what_its_definition_says(values):
    assert clipping(position_counts(values)) == pytest.approx(plain_clipping(values), abs=1e-12)


@given(inside)
def test_nothing_outside_is_no_clipping_however_much_lies_at_the_rails(values):
    assert clipping(position_counts(np.append(values, [0] * 50 + [CELLS - 1] * 50))) == 0.0


@given(cells)
def test_clipping_is_a_share(values):
    assert 0 <= clipping(position_counts(values)) <= 1


def test_a_constant_beyond_the_rail_is_all_cut_off():
    assert clipping(position_counts(np.full(9, 300))) == 1.0


@given(st.integers(1, 100), st.integers(1, 100))
def test_farther_outside_is_more_clipping(near, more):
    def share(beyond: int) -> float:
        return clipping(position_counts(np.array([*range(0, 250, 5), 255 + beyond])))

    assert share(near + more) > share(near)
