"""Blocks are dropped whole, and m of every n weights along their axis: for every weight."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfx_edge.components.core.compression.constraints.sparsity_structure import (
    Block,
    block_masks,
    m_of_n_mask,
)

_DTYPES = st.sampled_from([np.float32, np.float64, np.float16])
# Multiples of a half of small size: sums of a block are exact in any order.
_VALUES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])
_SCORES = hnp.arrays(_DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6), elements=_VALUES)
_BLOCKS = st.builds(Block, st.integers(1, 5), st.integers(1, 5), st.sampled_from(['AVG', 'MAX']))


@st.composite
def _weights(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    score = draw(_SCORES)
    axes = draw(st.lists(st.integers(0, score.ndim - 1), unique=True, max_size=2).map(sorted))
    return score, tuple(axes)


def _blocks(score: np.ndarray, axes: tuple[int, ...], block: Block) -> list[np.ndarray]:
    """The indices of the weights of each block, from the definition."""
    rows = [axis for axis in range(score.ndim) if axis not in axes]
    columns = int(np.prod([score.shape[axis] for axis in axes]))
    flat = np.moveaxis(np.arange(score.size).reshape(score.shape), rows, range(len(rows))).reshape(
        -1, columns
    )
    starts = itertools.product(range(0, flat.shape[0], block.height), range(0, columns, block.width))
    return [flat[row : row + block.height, col : col + block.width].ravel() for row, col in starts]


@settings(max_examples=50)
@given(st.lists(_weights(), min_size=1, max_size=3), _BLOCKS, st.floats(0.0, 0.99))
def test_whole_blocks_of_lowest_score_are_dropped_as_near_to_the_share_as_they_allow(
    weights: list[tuple[np.ndarray, tuple[int, ...]]], block: Block, share: float
) -> None:
    keeps = block_masks([score for score, _ in weights], [axes for _, axes in weights], block, share)
    ranked = []
    for which, (score, axes) in enumerate(weights):
        keep, pool = keeps[which], np.max if block.pooling == 'MAX' else np.mean
        assert keep.shape == score.shape
        for index, members in enumerate(_blocks(score, axes, block)):
            kept = keep.ravel()[members]
            assert kept.all() or not kept.any()
            ranked.append(
                (pool(score.ravel()[members].astype(np.float64)), which, index, members.size, kept[0])
            )
    ranked.sort(key=lambda entry: entry[:3])
    last = {entry[1]: entry for entry in ranked}
    free = [entry for entry in ranked if entry is not last[entry[1]]]
    assert all(entry[4] for entry in last.values())
    zeros = np.concatenate([[0], np.cumsum([entry[3] for entry in free])])
    distance = np.abs(zeros - share * sum(score.size for score, _ in weights))
    dropped = max(np.flatnonzero(distance == distance.min()))
    assert [not entry[4] for entry in free] == [position < dropped for position in range(len(free))]


@settings(max_examples=50)
@given(_SCORES, st.data())
def test_m_of_every_n_weights_along_the_axis_are_dropped(score: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, score.ndim - 1))
    n = data.draw(st.integers(2, 7))
    zeros = data.draw(st.integers(0, n - 1))
    keep = m_of_n_mask(score, axis, zeros, n)
    assert keep.shape == score.shape
    length = score.shape[axis]
    kept, scores = (np.moveaxis(array, axis, -1).reshape(-1, length) for array in (keep, score))
    for row, values in zip(kept, scores, strict=True):
        for start in range(0, length, n):
            group = values[start : start + n]
            dropped = sorted(range(len(group)), key=lambda i: (group[i], i))[: zeros * len(group) // n]
            np.testing.assert_array_equal(~row[start : start + n], np.isin(np.arange(len(group)), dropped))


def test_block_rows_are_the_axes_that_are_summed_over_and_columns_the_channels() -> None:
    transposed_convolution = np.ones((2, 1, 3, 4))
    transposed_convolution[1, :, 2, :] = 0.0
    (keep,) = block_masks([transposed_convolution], [(2,)], Block(4, 1, 'AVG'), 4 / 24)
    np.testing.assert_array_equal(keep, transposed_convolution != 0)


def test_average_of_a_block_at_the_end_counts_its_own_weights_only() -> None:
    score = np.array([[1.0, 1.0, 1.5]])
    (average,) = block_masks([score], [(1,)], Block(1, 2, 'AVG'), 0.5)
    np.testing.assert_array_equal(average, [[False, False, True]])
