"""The examples on which the deployed file is compared with the simulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

Batch = Mapping[str, np.ndarray]
# Most examples of this kind at the front; only the first rows of the batch are run on the file.
_ROWS = 4


def comparison_batch(seen: Sequence[Batch], inputs: Collection[str]) -> Batch | None:
    """The first batch, with examples in front that hold NaN or infinity, where there are some in any batch.

    A model may fill in such values itself, but integers cannot hold them: this shows only on such an example.

    Args:
      seen: batches, arrays of shape (batch, ...) by feature.
      inputs: features that are the model's inputs.

    Returns:
      A batch of the same size; None where there is none.

    Example:
      >>> comparison_batch([{'x': np.array([[1.0], [2.0]])}, {'x': np.array([[3.0], [np.nan]])}], ['x'])
      {'x': array([[nan],
             [ 1.]])}
    """
    if not seen:
        return None
    first = seen[0]
    size = len(next(iter(first.values())))
    chosen: list[Batch] = []
    for batch in seen:
        rows = np.flatnonzero(_holds_non_finite(batch, inputs))
        chosen += [{name: values[row : row + 1] for name, values in batch.items()} for row in rows]
        if len(chosen) >= _ROWS:
            break
    if not chosen:
        return first
    parts = [*chosen[:_ROWS], first]
    return {name: np.concatenate([part[name] for part in parts])[:size] for name in first}


def _holds_non_finite(batch: Batch, inputs: Collection[str]) -> np.ndarray:
    """For each row, whether a floating input holds NaN or infinity."""
    size = len(next(iter(batch.values())))
    found = np.zeros(size, bool)
    for name in inputs:
        if np.issubdtype(batch[name].dtype, np.floating):
            found |= ~np.isfinite(batch[name]).reshape(size, -1).all(1)
    return found
