"""Examples that are never trained on: which ones follows from their content alone."""

from __future__ import annotations

import itertools
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

_LOG = logging.getLogger(__name__)

Batch = Mapping[str, np.ndarray]
# One example in so many is held out.
_ONE_IN = 16
_MOST_SAMPLES = 512
_SEARCHED_BATCHES = 64


def split_held_out(
    batches: Iterator[Batch], names: Sequence[str]
) -> tuple[dict[str, np.ndarray] | None, Iterator[Batch]]:
    """Sets some examples aside, and takes them out of the batches that follow.

    Whether an example is held out follows from a checksum of its features: not from its order, file or seed.

    Args:
      batches: without end, arrays of shape (batch, ...) by feature; the first of them are searched for samples.
      names: the features that are the model's inputs.

    Returns:
      Up to 512 different samples by input name, None where the first batches hold none (or nothing else); and batches
      of the same size without those held out.

    Example:
      >>> samples, batches = split_held_out(batches, ['image'])
      >>> samples['image'].shape
      (90, 8, 8, 1)
    """
    _LOG.info('reading examples, and setting some aside')
    first = next(batches)
    size = len(next(iter(first.values())))
    searched = itertools.chain([first], itertools.islice(batches, _SEARCHED_BATCHES - 1))
    samples: dict[int, dict[str, np.ndarray]] = {}
    trained = 0
    for batch in searched:
        sums = _checksums(batch, names)
        for row, checksum in enumerate(sums):
            if checksum % _ONE_IN == 0 and len(samples) < _MOST_SAMPLES:
                # A view would keep its whole batch.
                samples.setdefault(checksum, {name: batch[name][row].copy() for name in names})
        trained += int(np.count_nonzero(sums % _ONE_IN))
        if len(samples) == _MOST_SAMPLES:
            break
    if not samples or not trained:
        _LOG.info('the examples are too few to hold some out')
        return None, itertools.chain([first], batches)
    rows = [samples[checksum] for checksum in sorted(samples)]
    stacked = {name: np.stack([row[name] for row in rows]) for name in names}
    return stacked, _without_held_out(batches, names, size)


def _without_held_out(batches: Iterator[Batch], names: Sequence[str], size: int) -> Iterator[Batch]:
    waiting: dict[str, np.ndarray] = {}
    for batch in batches:
        trained = _checksums(batch, names) % _ONE_IN != 0
        kept = {name: values[trained] for name, values in batch.items()}
        waiting = {name: np.concatenate([waiting[name], kept[name]]) for name in kept} if waiting else kept
        while len(next(iter(waiting.values()))) >= size:
            yield {name: values[:size] for name, values in waiting.items()}
            waiting = {name: values[size:] for name, values in waiting.items()}


def _checksums(batch: Batch, names: Sequence[str]) -> np.ndarray:
    """One for each row."""
    columns = [np.ascontiguousarray(batch[name]) for name in sorted(names)]
    sums = []
    for row in range(len(columns[0])):
        checksum = 0
        for column in columns:
            checksum = zlib.crc32(column[row].tobytes(), checksum)
        sums.append(checksum)
    return np.array(sums, np.int64)
