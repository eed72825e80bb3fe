"""Zeros in a pattern that hardware uses: blocks, and m of every n consecutive weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.compression.constraints import sparsity


@dataclasses.dataclass(frozen=True)
class Block:
    """Zeros in rectangles of the weight seen as a matrix.

    Attributes:
      height: rows of a block, along the axes that are summed over.
      width: columns of a block, along the output channels.
      pooling: AVG or MAX: how a block's score is computed from the scores of its weights.
    """

    height: int
    width: int
    pooling: str


@dataclasses.dataclass(frozen=True)
class MOfN:
    """`m` zeros in every `n` consecutive weights along the axis that a kernel sums over innermost."""

    m: int
    n: int


def block_masks(
    scores: Sequence[np.ndarray], channel_axes: Sequence[tuple[int, ...]], block: Block, share: float
) -> list[np.ndarray]:
    """Masks that drop whole blocks, those of lowest score (Narang et al., 2017, arXiv:1711.02782).

    A weight is seen as a matrix: its output channels are the columns, all other axes, flattened in order,
    the rows. Blocks start at the first row and column; those at the end may be smaller, and AVG divides
    by the weights they have. The blocks of all arrays are ranked together: lowest scores are dropped
    first, equal ones in order of their array and of their index (row by row), and so many that the number
    of zeros is as near to `share` of all weights as whole blocks allow. Each array keeps a block.

    Args:
      scores: importance of each weight, arrays of any rank.
      channel_axes: of each array, the axes that count output channels.
      block: the shape of the blocks.
      share: of zeros over all arrays, 0 to below 1.

    Returns:
      Boolean arrays of the scores' shapes; True is kept.

    Example:
      >>> block_masks([np.array([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]])], [(1,)], Block(2, 2, 'AVG'), 0.5)
      [array([[False, False,  True],
             [False, False,  True]])]
    """
    matrices = [_matrix(score, axes) for score, axes in zip(scores, channel_axes, strict=True)]
    sizes = [_sizes(matrix.shape, block) for matrix in matrices]
    pooled = [_pool(matrix, block, size) for matrix, size in zip(matrices, sizes, strict=True)]
    keeps = []
    for score, axes, matrix, kept in zip(
        scores, channel_axes, matrices, sparsity.masks(pooled, share, sizes), strict=True
    ):
        rows, columns = matrix.shape
        whole = kept.repeat(block.height, 0)[:rows].repeat(block.width, 1)[:, :columns]
        keeps.append(_from_matrix(whole, score.shape, axes))
    return keeps


def m_of_n_mask(score: np.ndarray, axis: int, zeros: int, n: int) -> np.ndarray:
    """Drops `zeros` of every `n` consecutive weights along an axis, those of lowest score.

    Of a last group of r < n weights, `zeros * r // n` are dropped; of equal scores the first.

    Args:
      score: importance of each weight, of any shape.
      axis: along which the groups lie.
      zeros: in each group, below `n`.
      n: weights in a group.

    Returns:
      A boolean array of the score's shape; True is kept.

    Example:
      >>> m_of_n_mask(np.array([3.0, 1.0, 2.0, 4.0, 6.0, 5.0]), 0, 2, 4)
      array([ True, False, False,  True,  True, False])
    """
    rows = np.moveaxis(score, axis, -1)
    whole = rows.shape[-1] // n * n
    rest = rows.shape[-1] - whole
    groups = rows[..., :whole].reshape(-1, n)
    keep = np.ones(rows.shape, bool)
    keep[..., :whole] = _drop_of_each(groups, zeros).reshape(*rows.shape[:-1], whole)
    if rest:
        last = rows[..., whole:].reshape(-1, rest)
        keep[..., whole:] = _drop_of_each(last, zeros * rest // n).reshape(*rows.shape[:-1], rest)
    return np.ascontiguousarray(np.moveaxis(keep, -1, axis))


def _drop_of_each(groups: np.ndarray, zeros: int) -> np.ndarray:
    """Drops `zeros` of the lowest scores of each row, the first among equal ones."""
    if zeros == 0:
        return np.ones(groups.shape, bool)
    threshold = np.partition(groups, zeros - 1, axis=-1)[:, zeros - 1 : zeros]
    ties = groups == threshold
    left = zeros - np.count_nonzero(groups < threshold, axis=-1, keepdims=True)
    return (groups > threshold) | (ties & (np.cumsum(ties, axis=-1, dtype=np.int32) > left))


def _order(rank: int, channel_axes: tuple[int, ...]) -> list[int]:
    return [axis for axis in range(rank) if axis not in channel_axes] + list(channel_axes)


def _matrix(array: np.ndarray, channel_axes: tuple[int, ...]) -> np.ndarray:
    columns = int(np.prod([array.shape[axis] for axis in channel_axes], dtype=np.int64))
    return array.transpose(_order(array.ndim, channel_axes)).reshape(-1, columns)


def _from_matrix(matrix: np.ndarray, shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> np.ndarray:
    order = _order(len(shape), channel_axes)
    ordered = matrix.reshape([shape[axis] for axis in order])
    return np.ascontiguousarray(ordered.transpose(np.argsort(order)))


def _sizes(shape: tuple[int, ...], block: Block) -> np.ndarray:
    """How many weights each block has."""
    height = np.diff(np.append(np.arange(0, shape[0], block.height), shape[0]))
    width = np.diff(np.append(np.arange(0, shape[1], block.width), shape[1]))
    return np.outer(height, width)


def _pool(matrix: np.ndarray, block: Block, sizes: np.ndarray) -> np.ndarray:
    """The score of each block."""
    combine = np.maximum if block.pooling == 'MAX' else np.add
    pooled = combine.reduceat(matrix, np.arange(0, matrix.shape[1], block.width), axis=1, dtype=np.float64)
    pooled = combine.reduceat(pooled, np.arange(0, matrix.shape[0], block.height), axis=0)
    return pooled if block.pooling == 'MAX' else pooled / sizes
