"""Which examples are used: those whose content has the smallest hashes, independent of files, order and workers.

Records never leave the worker that read them, so memory does not grow with their number: a first pass over the files
yields hashes, of which the smallest are kept; a second one reads the records at their places.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from tfx_edge.components.core.calibration.results import FAULTS, FOUND
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import content_hash, read_records
from tfx_edge.components.core.smallest_values import smallest

PLACES = 'places'
COMPARED = 'compared'
# (file, positions of the chosen records in it, in order).
Places = tuple[str, tuple[int, ...]]

# For a cluster that does not say how many workers it has.
_WORKERS = 8


class ChooseExamples(beam.PTransform):
    """The places of the examples to use.

    Identical examples are each counted, up to exactly `count`; which of them is used makes no difference.

    Args:
      files: TFRecord files of tf.Examples, where workers can read them.
      count: how many examples are used at most.
      compared: how many more are to be set aside for a comparison.

    Returns:
      By `expand`, a dictionary. PLACES: those of the used examples, each of one file or a part of it, spread over the
      workers. FAULTS: what is wrong with files, and FOUND: how many examples there are, up to `count + compared`, both
      as results (see `results.py`). With `compared` also COMPARED: places of the examples that come next, or of the
      last used ones where fewer than half of `compared` are left.
    """

    def __init__(self, files: Sequence[str], count: int, compared: int = 0) -> None:
        super().__init__()
        self._files = list(files)
        self._count = count
        self._compared = compared

    def expand(self, pbegin: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        hashed = (
            pbegin
            | 'Files' >> beam.Create(list(enumerate(self._files)), reshuffle=False)
            | 'SpreadFiles' >> beam.Reshuffle()
            | 'Hash' >> beam.ParDo(_Hash(self._count + self._compared)).with_outputs(FAULTS, main='hashes')
        )
        chosen_of_all = smallest(self._count + self._compared)
        chosen = hashed.hashes | 'Smallest' >> beam.CombineGlobally(chosen_of_all).without_defaults()
        workers = _workers(pbegin.pipeline.options)
        places = (
            chosen
            | 'Used' >> beam.Map(_used, count=self._count)
            | 'Places' >> beam.FlatMap(_places, files=self._files, workers=workers)
            | 'SpreadPlaces' >> beam.Reshuffle()
        )
        found = chosen | 'Found' >> beam.Map(lambda examples: (FOUND, len(examples)))
        outputs = {PLACES: places, FAULTS: hashed[FAULTS], FOUND: found}
        if self._compared:
            outputs[COMPARED] = (
                chosen
                | 'Compared' >> beam.Map(set_aside, count=self._count, compared=self._compared)
                | 'ComparedPlaces' >> beam.FlatMap(_places, files=self._files, workers=1)
            )
        return outputs


_Chosen = TypeVar('_Chosen')


def set_aside(chosen: Sequence[_Chosen], count: int, compared: int) -> list[_Chosen]:
    """Chooses the examples to compare on, from examples in the order of their hashes.

    Args:
      chosen: at most `count + compared`.
      count: how many are used.
      compared: how many are wanted.

    Returns:
      Those that are not used; the last used ones, where fewer than half of `compared` are left.

    Example:
      >>> set_aside([1, 2, 3, 4, 5, 6], count=4, compared=2), set_aside([1, 2, 3], count=4, compared=2)
      ([5, 6], [2, 3])
    """
    if are_held_out(len(chosen), count, compared):
        return list(chosen[count:])
    return list(chosen[:count][-compared:])


def are_held_out(found: int, count: int, compared: int) -> bool:
    """Whether `set_aside` returns only examples that are not used.

    Args:
      found: how many examples there are, up to `count + compared`.
      count: how many are used.
      compared: how many are wanted.
    """
    return 2 * (found - count) >= compared


def _used(chosen: Sequence[_Chosen], count: int) -> list[_Chosen]:
    return list(chosen[:count])


def records_at(places: Places) -> Iterator[bytes]:
    """Reads the records at their places.

    Raises:
      EdgeError: the file is unreadable or truncated.
    """
    file, positions = places
    wanted = iter(positions)
    following = next(wanted)
    for position, record in enumerate(read_records([file])):
        if position == following:
            yield record
            following = next(wanted, -1)
            if following < 0:
                return


class _Hash(beam.DoFn):
    """(hash, number of the file, position in it) of a file's smallest hashes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def process(self, numbered: tuple[int, str]) -> Iterator[Any]:
        number, file = numbered
        hashes = ((content_hash(record), number, i) for i, record in enumerate(read_records([file])))
        try:
            # The smallest of all are among the smallest of each file.
            yield from heapq.nsmallest(self._count, hashes)
        except EdgeError as error:
            yield beam.pvalue.TaggedOutput(FAULTS, (FAULTS, str(error)))


def _places(chosen: Sequence[tuple[bytes, int, int]], files: Sequence[str], workers: int) -> Iterator[Places]:
    """The places of the chosen records by file; files are split where there are fewer files than workers."""
    by_file: dict[int, list[int]] = {}
    for _, number, position in chosen:
        by_file.setdefault(number, []).append(position)
    # Each part reads its file from the start, so there are no more than needed.
    parts = math.ceil(workers / len(by_file)) if by_file else 1
    for number, positions in sorted(by_file.items()):
        positions.sort()
        size = math.ceil(len(positions) / parts)
        for start in range(0, len(positions), size):
            yield files[number], tuple(positions[start : start + size])


def _workers(options: PipelineOptions) -> int:
    """How many workers there are, as far as the options say."""
    runner = (options.view_as(StandardOptions).runner or '').rsplit('.', 1)[-1]
    direct = options.view_as(DirectOptions)
    if runner in ('', 'DirectRunner', 'BundleBasedDirectRunner', 'FnApiRunner', 'SwitchingDirectRunner'):
        # 0 means one for each processor.
        return direct.direct_num_workers or os.cpu_count() or 1
    cluster = options.view_as(WorkerOptions)
    return cluster.max_num_workers or cluster.num_workers or _WORKERS
