"""The batch by which QAT finds what it cannot simulate."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.qat.comparison_batch import comparison_batch


def _batch(*values: float) -> dict[str, np.ndarray]:
    return {'x': np.array(values, np.float32).reshape(-1, 1), 'n': np.arange(len(values))}


def test_examples_with_nan_of_any_batch_come_first() -> None:
    seen = [_batch(1, 2, 3, 4), _batch(5, np.nan, 6, 7), _batch(np.inf, 8, 9, 10)]
    batch = comparison_batch(seen, ['x', 'n'])
    assert batch is not None
    np.testing.assert_array_equal(batch['x'].ravel(), [np.nan, np.inf, 1, 2])
    np.testing.assert_array_equal(batch['n'], [1, 0, 0, 1])


def test_half_of_what_the_file_is_run_on_stays_as_it_was() -> None:
    batch = comparison_batch([_batch(*([1.0] * 16)), _batch(*([np.nan] * 16))], ['x'])
    assert batch is not None
    assert np.isnan(batch['x'].ravel()).nonzero()[0].tolist() == [0, 1, 2, 3]


def test_without_nan_it_is_the_first() -> None:
    seen = [_batch(1, 2), _batch(3, 4)]
    assert comparison_batch(seen, ['x']) is seen[0]
    assert comparison_batch([], ['x']) is None
