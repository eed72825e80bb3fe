"""Counts that merge exactly, and the figures made of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfx_edge.components.core.evaluation.model_files.range_use import (
    CalibrationFit,
    RangeUse,
    TensorFit,
    range_used,
)
from tfx_edge.components.core.range_clipping import position_counts

cells = arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(-300, 560))


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
