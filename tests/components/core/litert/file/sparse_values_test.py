"""Sparse tensors: what is left out comes back, in the formats that LiteRT reads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfx_edge.components.core.litert.file import sparse_values

_VALUES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.5, -2.0, 3.25]),
)


@hypothesis.given(_VALUES)
def test_what_is_left_out_comes_back(values: np.ndarray) -> None:
    stored, sparsity = sparse_values.encode(values)
    assert len(stored) == np.count_nonzero(values)
    np.testing.assert_array_equal(sparse_values.decode(sparsity, stored, values.shape), values)


@hypothesis.given(_VALUES)
def test_bytes_are_those_of_values_and_places(values: np.ndarray) -> None:
    stored, sparsity = sparse_values.encode(values)
    rows = values.size // values.shape[-1]
    assert sparse_values.stored_bytes(sparsity, stored) == len(stored) * (4 + 2) + (rows + 1) * 4


def _dense(size: int) -> schema.DimensionMetadataT:
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = schema.DimensionType.DENSE, size
    return level


def _compressed(segments: list[int], indices: list[int]) -> schema.DimensionMetadataT:
    level = schema.DimensionMetadataT()
    level.format = schema.DimensionType.SPARSE_CSR
    level.arraySegments, level.arrayIndices = schema.Int32VectorT(), schema.Uint8VectorT()
    level.arraySegments.values, level.arrayIndices.values = segments, indices
    return level


def test_blocks_are_read_in_any_order_of_traversal() -> None:
    # The example of the format: blocks of 2x2, of which the first and the last of a 4x4 matrix are there.
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = [0, 1, 2, 3], [0, 1]
    sparsity.dimMetadata = [_dense(2), _compressed([0, 1, 2], [0, 1]), _dense(2), _dense(2)]
    stored = np.arange(1, 9, dtype=np.int8)
    expected = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
    assert sparse_values.decode(sparsity, stored, (4, 4)).tolist() == expected
    sparsity.traversalOrder = [1, 0, 3, 2]
    assert sparse_values.decode(sparsity, stored, (4, 4)).tolist() == np.transpose(expected).tolist()


def test_values_of_another_number_are_refused() -> None:
    stored, sparsity = sparse_values.encode(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match='2 values of a sparse tensor'):
        sparse_values.decode(sparsity, stored[:2], (3, 3))
