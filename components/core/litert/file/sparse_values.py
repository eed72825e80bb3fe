"""The values of a sparse tensor: how a `.tflite` file stores them, and back.

The format is that of `SparsityParameters` in its schema, after TACO (Kjolstad et al., 2017,
https://doi.org/10.1145/3133901): dimensions in an order of traversal, each dense or compressed, those of a block last.
"""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# The largest coordinate that a compressed dimension is written with here.
MOST_COLUMNS = 2**16


def decode(sparsity: schema.SparsityParametersT, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor that a file's list of values stands for.

    Args:
      sparsity: of the tensor.
      stored: the values that the file holds, in order, of any dtype.
      shape: of the tensor.

    Returns:
      An array of this shape, zero where the file holds nothing.

    Raises:
      ValueError: the two do not belong together.

    Example:
      ```
      values = decode(tensor.sparsity, np.frombuffer(buffer.data, np.float32), tuple(tensor.shape))
      ```
    """
    order = [int(dimension) for dimension in sparsity.traversalOrder]
    levels = _coordinates(sparsity)
    if len(levels) != len(order) or any(len(level) != len(stored) for level in levels):
        raise ValueError(f'{len(stored)} values of a sparse tensor, for other indices')
    places = [np.zeros(len(stored), np.int64) for _ in shape]
    for dimension, level in zip(order, levels, strict=True):
        if dimension < len(shape):
            places[dimension] += level * _block_size(sparsity, dimension, order, len(shape))
        else:
            places[int(sparsity.blockMap[dimension - len(shape)])] += level
    values = np.zeros(shape, stored.dtype)
    values[tuple(places)] = stored
    return values


def encode(values: np.ndarray) -> tuple[np.ndarray, schema.SparsityParametersT]:
    """Leaves out the zeros along the last dimension; the other dimensions stay dense.

    Args:
      values: of a tensor, with at most MOST_COLUMNS in its last dimension.

    Returns:
      The values that are not zero, in order, and what tells their places.

    Example:
      >>> stored, _ = encode(np.array([[0, 3], [4, 0]]))
      >>> stored.tolist()
      [3, 4]
    """
    rows = values.reshape(-1, values.shape[-1])
    row, column = np.nonzero(rows)
    compressed = schema.DimensionMetadataT()
    compressed.format = schema.DimensionType.SPARSE_CSR
    segments, indices = schema.Int32VectorT(), schema.Uint16VectorT()
    segments.values = np.searchsorted(row, np.arange(len(rows) + 1)).astype(np.int32)
    indices.values = column.astype(np.uint16)
    compressed.arraySegments, compressed.arraySegmentsType = segments, schema.SparseIndexVector.Int32Vector
    compressed.arrayIndices, compressed.arrayIndicesType = indices, schema.SparseIndexVector.Uint16Vector
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = list(range(values.ndim))
    sparsity.blockMap = []
    sparsity.dimMetadata = [*map(_dense, values.shape[:-1]), compressed]
    return rows[row, column], sparsity


def stored_bytes(sparsity: schema.SparsityParametersT, stored: np.ndarray) -> int:
    """What `encode` adds to a file: values, and what tells their places."""
    places = 0
    for level in sparsity.dimMetadata:
        if level.format == schema.DimensionType.SPARSE_CSR:
            places += level.arraySegments.values.nbytes + level.arrayIndices.values.nbytes
    return stored.nbytes + places


def _dense(size: int) -> schema.DimensionMetadataT:
    level = schema.DimensionMetadataT()
    level.format = schema.DimensionType.DENSE
    level.denseSize = int(size)
    return level


def _coordinates(sparsity: schema.SparsityParametersT) -> list[np.ndarray]:
    """For each dimension, in the order of traversal, the coordinate of each stored value."""
    levels: list[np.ndarray] = []
    number = 1
    for level in sparsity.dimMetadata:
        if level.format == schema.DimensionType.DENSE:
            counts = np.full(number, level.denseSize, np.int64)
            own = np.tile(np.arange(level.denseSize, dtype=np.int64), number)
        else:
            segments = np.asarray(level.arraySegments.values, np.int64)
            counts = segments[1:] - segments[:-1]
            own = np.asarray(level.arrayIndices.values, np.int64)
        if len(counts) != number or counts.sum() != len(own):
            raise ValueError('the segments of a sparse tensor do not fit its indices')
        levels = [np.repeat(coordinates, counts) for coordinates in levels]
        levels.append(own)
        number = len(own)
    return levels


def _block_size(
    sparsity: schema.SparsityParametersT, dimension: int, order: list[int], dimensions: int
) -> int:
    """How many elements of a dimension a block holds; 1 where it has no blocks."""
    blocks = [int(mapped) for mapped in sparsity.blockMap] if sparsity.blockMap is not None else []
    sizes = [
        int(sparsity.dimMetadata[order.index(dimensions + number)].denseSize)
        for number, mapped in enumerate(blocks)
        if mapped == dimension
    ]
    return math.prod(sizes)
