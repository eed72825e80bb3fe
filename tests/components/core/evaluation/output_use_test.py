"""What outputs do: the same for any order and bundling; stuck ones are found, few or equal examples tell nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.output_use import OutputsUse, use_of_batch

RAILS = {'': (-1.0, 0.9921875)}


def _seen(values: Sequence[float], records: Sequence[bytes], cuts: Sequence[int]) -> OutputsUse:
    rows = np.array(values, np.float32).reshape(-1, 1)
    edges = [0, *sorted(cuts), len(rows)]
    bundles = [
        use_of_batch(records[start:stop], {'': rows[start:stop]}, RAILS)
        for start, stop in itertools.pairwise(edges)
        if stop > start
    ]
    return sum(bundles, OutputsUse())


def _records(count: int) -> list[bytes]:
    return [b'example %d' % number for number in range(count)]


@given(st.data(), st.lists(st.sampled_from([-1.0, 0.0, 0.9921875]), min_size=1, max_size=30))
def test_bundles_and_order_do_not_matter(data: st.DataObject, values: list[float]) -> None:
    records = _records(len(values))
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=4))
    order = data.draw(st.permutations(range(len(values))))
    found = _seen(values, records, cuts)
    again = _seen([values[n] for n in order], [records[n] for n in order], [])
    assert (found.count, found.outputs, found.examples) == (again.count, again.outputs, again.examples)
    output = found.outputs['']
    assert (output.at_lowest, output.at_highest) == (values.count(-1.0), values.count(0.9921875))
    assert output.rows.differs == (len(set(values)) > 1)


def test_an_output_that_answers_the_same_to_different_examples_is_stuck() -> None:
    assert _seen([0.5] * 10, _records(10), []).never_change == ('',)
    assert _seen([0.5] * 9 + [0.25], _records(10), []).never_change == ()


def test_few_examples_and_equal_ones_tell_nothing() -> None:
    assert _seen([0.5] * 9, _records(9), []).never_change == ()
    assert _seen([0.5] * 20, [b'the same'] * 20, []).never_change == ()


def test_a_stuck_output_beside_one_that_changes_is_named() -> None:
    outputs = {'moves': np.arange(12.0), 'stuck': np.full((12, 3), np.nan)}
    assert use_of_batch(_records(12), outputs, {}).never_change == ('stuck',)
