"""Writes all that a run finds, in one step on one worker: what is found is small, however many the examples are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from tfx_edge.components.core.evaluation.evaluators.observer import Branch, Seen, Sum

# Writes what was found under a name: parts and values, in any order.
Writer = Callable[[Sequence[tuple[str, Any]]], None]
# Makes the step run where nothing was found.
_NOTHING: Seen = ('', '', None)


class WriteFound(beam.PTransform):
    """Writes the files of a run.

    Args:
      writers: by the names of what they write; each is called once, without anything where nothing was found.
    """

    def __init__(self, writers: Mapping[str, Writer]) -> None:
        super().__init__()
        self._writers = dict(writers)

    def expand(self, found: Any) -> Any:
        """Takes a tuple of collections of names, parts and values."""
        begun = found[0].pipeline | 'Begin' >> beam.Create([_NOTHING], reshuffle=False)
        return (
            (begun, *found)
            | 'All' >> beam.Flatten()
            | 'Together' >> beam.WithKeys(None)
            | 'Gather' >> beam.GroupByKey()
            | 'Write' >> beam.Map(_write, self._writers)
        )


def writer_of_sum(added: Sum) -> Writer:
    """Hands a sum its parts."""
    return lambda found: added.write(dict(found))


def writer_of_branch(branch: Branch) -> Writer:
    """Hands a branch its values."""
    return lambda found: branch.write([value for _, value in found])


def _write(gathered: tuple[None, Iterable[Seen]], writers: Mapping[str, Writer]) -> None:
    _, found = gathered
    by_name: dict[str, list[tuple[str, Any]]] = {name: [] for name in writers}
    for name, part, value in found:
        if name:
            by_name[name].append((part, value))
    for name, write in writers.items():
        write(by_name[name])
