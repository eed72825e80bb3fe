"""Statistics of a slice: the same in any order and any parts."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.statistics.slice_statistics import (
    Observation,
    SliceStatistics,
    TestKind,
)

TESTS = (TestKind(is_share=True, is_loss=False), TestKind(is_share=False, is_loss=True))
VALUES = st.floats(-1e6, 1e6, width=32) | st.just(float('nan'))


@st.composite
def observations(draw) -> Observation:
    ours, theirs, loss, other = (draw(VALUES) for _ in range(4))
    right = draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    return Observation(
        agrees=draw(st.sampled_from([True, False, None])),
        labelled=draw(st.booleans()),
        worse=right == (0, 1),
        better=right == (1, 0),
        outputs=((np.array([ours, 0.5], np.float32), np.array([theirs, 0.5], np.float32)),),
        values=((float(right[0]), float(right[1])), (loss, other)),
        content=hashlib.sha256(repr(draw(st.integers(0, 9))).encode()).digest(),
    )


def of(seen) -> SliceStatistics:
    statistics = SliceStatistics.none(1, TESTS)
    for observation in seen:
        statistics.add(observation)
    return statistics


@settings(max_examples=50)
@given(st.lists(observations(), max_size=12), st.data())
def test_they_merge_in_any_order(seen, data):
    shuffled = data.draw(st.permutations(seen))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(seen))] * 2)))
    merged = of(shuffled[second:])
    merged.merge(of(shuffled[:first]))
    merged.merge(of(shuffled[first:second]))
    assert merged == of(seen)
    assert merged.examples == len(seen)
    assert merged.worse == sum(observation.worse for observation in seen)
    assert merged.agreeing == sum(bool(observation.agrees) for observation in seen)


def test_a_loss_drops_where_it_rises():
    seen = Observation(
        True, True, False, False, ((np.zeros(2), np.zeros(2)),), ((1, 1), (3.0, 1.0)), b'0' * 32
    )
    _, sums = of([seen]).sums
    assert (sums.worse, sums.drops[0].mean(1)) == (1, 2.0)
