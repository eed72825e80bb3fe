"""Counting agreement: exact, and the same in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.evaluation.measurements.agreement import Counts, count

SCORES = st.floats(-5, 5, width=32) | st.just(float('nan')) | st.just(float('inf'))


@given(
    hnp.arrays(np.float32, (12, 3), elements=SCORES),
    hnp.arrays(np.float32, (12, 3), elements=SCORES),
    st.data(),
)
def test_counts_do_not_depend_on_batches_and_order(ours, theirs, data):
    whole = count({'': ''}, {'': ours}, {'': theirs})
    order = np.array(data.draw(st.permutations(range(12))))
    cut = data.draw(st.integers(1, 11))
    parts = [count({'': ''}, {'': ours[rows]}, {'': theirs[rows]}) for rows in (order[:cut], order[cut:])]
    assert sum(parts, Counts()) == whole
    assert whole.examples == 12
    known = ~(np.isnan(ours).any(1) | np.isnan(theirs).any(1))
    assert whole.agreeing == sum(
        list(a).index(max(a)) == list(b).index(max(b))
        for a, b in zip(ours[known], theirs[known], strict=True)
    )


def test_of_several_outputs_all_must_agree():
    first, second = np.array([[0.1, 0.9], [0.9, 0.1]]), np.array([[0.9, 0.1], [0.9, 0.1]])
    counts = count({'a': 'a', 'b': 'b'}, {'a': first, 'b': first}, {'a': first, 'b': second})
    assert counts == Counts(examples=2, agreeing=1)
