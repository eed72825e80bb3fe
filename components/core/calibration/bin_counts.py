"""How often each bin occurs in a block of float32 numbers."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Each power of two is split into 2**6 equal bins, so a bin's width is at most 1/64 of its smallest magnitude.
MANTISSA_BITS = 6
SHIFT = 23 - MANTISSA_BITS
# Bins of one sign, those of infinity and NaN (the last ones) included.
OF_A_SIGN = 1 << (31 - SHIFT)
# Numbers in a block. With their bins and counts they stay in a core's own cache.
BLOCK = 1 << 17
# Added to two neighbours at once, it moves one of them to the second half of the counts.
_TO_ONE_OF_TWO = np.uint64(2 * OF_A_SIGN << 32)


class BinCounts:
    """Counts the bins of one block after another, in memory that is taken once.

    The count is a product of a sparse matrix, which has a row for each bin and one column with a 1 in the row of each
    number, and the vector [1]. SciPy computes that in the time in which `np.bincount` converts the bins to int64 and
    looks for the largest. Every other number is counted apart: adding to the count that was just stored (many numbers
    are 0 behind a RELU) would wait for it. Not for several threads at once.

    Example:
      >>> halves = BinCounts()(np.array([1.0, 1.0, -1.0], np.float32))
      >>> halves.sum(axis=0)[:, 127 << 6]
      array([2, 1])
    """

    def __init__(self) -> None:
        self._bins = np.zeros(BLOCK, np.int32)
        self._unsigned, self._pairs = self._bins.view(np.uint32), self._bins.view(np.uint64)
        self._matrix = sparse.csc_matrix((4 * OF_A_SIGN, 1), dtype=np.int32)
        self._matrix.data = np.ones(BLOCK, np.int32)
        self._matrix.indices = self._bins
        # Where the column begins and ends; what lies beyond is no part of the matrix.
        self._ends = self._matrix.indptr = np.zeros(2, np.int32)
        self._one = np.ones(1, np.int32)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """How many numbers lie in each bin.

        Args:
          values: float32, at most BLOCK numbers; contiguous in the last axis.

        Returns:
          int32 (2, 2, OF_A_SIGN): of the one half of the numbers and of the other, without and with a sign, by bin.
        """
        size = values.size
        np.right_shift(values.view(np.uint32), SHIFT, out=self._unsigned[:size].reshape(values.shape))
        pairs = self._pairs[: (size + 1) // 2]
        np.add(pairs, _TO_ONE_OF_TWO, out=pairs)
        self._ends[1] = size
        return (self._matrix @ self._one).reshape(2, 2, OF_A_SIGN)
