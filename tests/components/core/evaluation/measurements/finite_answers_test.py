"""Counting answers that are no finite numbers: exact, and the same in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.evaluation.measurements.finite_answers import Counts, count

SCORES = st.floats(-5, 5, width=32) | st.just(float('nan')) | st.just(float('inf'))


@given(hnp.arrays(np.float32, (12, 3), elements=SCORES), st.data())
def test_counts_do_not_depend_on_batches_and_order(scores, data):
    whole = count({'': scores})
    order = np.array(data.draw(st.permutations(range(12))))
    cut = data.draw(st.integers(1, 11))
    assert sum((count({'': scores[rows]}) for rows in (order[:cut], order[cut:])), Counts()) == whole
    assert whole == Counts(12, sum(not np.isfinite(row).all() for row in scores))


def test_one_output_of_several_is_enough():
    outputs = {'class': np.array([1, 2]), 'scores': np.array([[0.1, 0.9], [np.nan, 0.0]])}
    assert count(outputs) == Counts(examples=2, not_finite=1)
    assert count({'': np.zeros((2, 3))}, outputs) == Counts(examples=2, baseline_not_finite=1)
