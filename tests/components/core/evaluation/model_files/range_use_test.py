"""Counts that merge exactly, and the figures made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfx_edge.components.core.evaluation.model_files.range_use import (
    CELLS,
    CalibrationFit,
    RangeUse,
    TensorFit,
    clipping,
    position_counts,
    range_used,
)

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


@given(st.lists(cells, min_size=1, max_size=6), st.randoms())
def test_any_order_and_any_grouping_gives_the_same_counts(examples, random):
    def use(values: np.ndarray) -> RangeUse:
        return RangeUse.of_example(
            [(position_counts(values), min(0.0, values.min()), max(0.0, values.max()))]
        )

    shuffled = list(examples)
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))
    parts = [sum(map(use, part), RangeUse.none(1)) for part in (shuffled[:cut], shuffled[cut:])]
    one, other = sum(map(use, examples), RangeUse.none(1)), parts[0] + parts[1]
    assert one.examples == other.examples == len(examples)
    for field in ('counts', 'low', 'high'):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_range_used_counts_steps_of_int8():
    assert range_used(-28.0, 227.0) == 1.0
    assert range_used(0.0, 51.0) == 0.2
    assert range_used(0.0, 20_000.0) == 1.0  # int16 has more than enough
    assert range_used(0.0, 0.0) is None


def test_the_worst_tensors_are_the_most_clipped_and_the_least_used():
    tensors = [TensorFit(f't{n}', n / 100, 1 - n / 10 if n else None, 0.0, 1.0) for n in range(9)]
    fit = CalibrationFit(20, tuple(tensors))
    assert fit.most_clipped.name == 't8'
    assert fit.least_used is not None
    assert fit.least_used.name == 't8'
    assert [t.name for t in fit.worst] == ['t8', 't7', 't6', 't5', 't4']
    assert CalibrationFit(20, (tensors[0],)).least_used is None
