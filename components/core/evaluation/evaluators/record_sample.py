"""A few records of an example set: the same ones whatever the order, the files and the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.evaluators.observer import Observer, Seen, Sum
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_records
from tfx_edge.components.core.examples.example_parser import content_hash
from tfx_edge.components.core.smallest_values import smallest

_NAME = 'KeepSample'


def hashed_records(extracts: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """The records of a batch of TFMA's extracts, each with its SHA-256: the `smallest` are those of any order."""
    for record in extracts[tfma.INPUT_KEY]:
        yield content_hash(record), record


def keeping_sample(size: int, path: str) -> Observer:
    """An observer that writes the records whose content has the smallest SHA-256 to one TFRecord file.

    Args:
      size: how many at most.
      path: of the file.

    Returns:
      The observer.
    """

    def write(sums: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> None:
        write_records(path, [record for _, record in sums.get('', ())])

    return Observer(_observed, (Sum(_NAME, smallest(size), write),))


def _observed(extracts: dict[str, Any]) -> Iterator[Seen]:
    for hashed in hashed_records(extracts):
        yield _NAME, '', hashed
