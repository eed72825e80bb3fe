"""What outputs do: the same for any order and bundling; stuck ones are found, few or equal examples show nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.statistics.output_use import OutputsUse, use_of_batch

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
    assert _seen([0.5] * 10, _records(10), []).stuck == ('',)
    assert _seen([0.5] * 9 + [0.25], _records(10), []).stuck == ()


def test_few_examples_and_equal_ones_show_nothing() -> None:
    assert _seen([0.5] * 9, _records(9), []).stuck == ()
    assert _seen([0.5] * 20, [b'the same'] * 20, []).stuck == ()


def test_a_constant_output_beside_one_that_changes_is_no_fault_by_itself() -> None:
    """The anchors of a detector, say."""
    outputs = {'boxes': np.arange(12.0), 'anchors': np.full((12, 3), 0.5)}
    assert use_of_batch(_records(12), outputs, {}).stuck == ()
    assert use_of_batch(_records(12), {name: np.zeros(12) for name in outputs}, {}).stuck == (
        'boxes',
        'anchors',
    )


def test_an_output_is_stuck_where_the_baselines_changes() -> None:
    outputs = {'boxes': np.arange(12.0), 'anchors': np.full((12, 3), 0.5), 'scores': np.zeros(12)}
    baseline = {'boxes': np.zeros(12), 'anchors': np.full((12, 3), 0.25), 'scores': np.eye(12)}
    assert use_of_batch(_records(12), outputs, {}, baseline).stuck == ('scores',)
    halves = [
        use_of_batch(
            _records(12)[part],
            {name: values[part] for name, values in outputs.items()},
            {},
            {name: values[part] for name, values in baseline.items()},
        )
        for part in (slice(6), slice(6, 12))
    ]
    assert (halves[1] + halves[0]).stuck == ('scores',)
