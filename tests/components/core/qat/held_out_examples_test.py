"""Which examples are held out follows from their content alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.qat.held_out_examples import split_held_out


def _batches(rows: np.ndarray, size: int, seed: int) -> Iterator[Mapping[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    stream = itertools.chain.from_iterable(random.permutation(len(rows)) for _ in itertools.count())
    while True:
        taken = list(itertools.islice(stream, size))
        yield {'x': rows[taken], 'label': np.array(taken)}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(1, 70), st.integers(0, 9))
def test_the_same_examples_whatever_their_order_and_none_is_trained_on(
    data_seed: int, size: int, order_seed: int
) -> None:
    rows = np.random.default_rng(data_seed).normal(size=(200, 3)).astype(np.float32)
    expected, _ = split_held_out(_batches(rows, 70, 0), ['x'])
    samples, rest = split_held_out(_batches(rows, size, order_seed), ['x'])
    if samples is None or expected is None:
        return
    held = {row.tobytes() for row in samples['x']}
    assert held <= {row.tobytes() for row in expected['x']}
    assert len(held) == len(samples['x'])
    if size * 64 > len(rows) + size:
        assert samples['x'].tobytes() == expected['x'].tobytes()
    for batch in itertools.islice(rest, 2 * len(rows) // size + 2):
        assert len(batch['x']) == len(batch['label']) == size
        assert all(row.tobytes() not in held for row in batch['x'])
        assert np.array_equal(rows[batch['label']], batch['x'])


def test_too_few_examples_are_all_trained_on() -> None:
    rows = np.zeros((1, 3), np.float32)
    samples, rest = split_held_out(_batches(rows, 4, 0), ['x'])
    assert samples is None
    assert len(next(rest)['x']) == 4
