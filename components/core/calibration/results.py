"""What a pipeline of calibration finds, brought together and written by one step of Beam.

A result is a pair: its name, and a value that is added to what has that name. An engine such as Flink takes longer to
start a step than to add up the few results of all workers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.smallest_values import smallest

FAULTS = 'faults'
FOUND = 'found'
MEASURED = 'measured'
SAMPLE = 'sample'


@dataclasses.dataclass(frozen=True)
class Kind:
    """What becomes of the results of one name.

    Attributes:
      combine: adds up their values, to the same in any order.
      as_json: makes keys of a JSON file of the sum.
    """

    combine: beam.CombineFn
    as_json: Callable[[Any], dict[str, Any]]


class WriteResults(beam.PTransform):
    """Writes one JSON file of results; or of the first of their FAULTS, which `read_results` raises.

    Args:
      path: of the file.
      kinds: of the results, by name; FAULTS are results without being among them.
    """

    def __init__(self, path: str, kinds: Mapping[str, Kind]) -> None:
        super().__init__()
        self._path = path
        self._combines = {**{name: kind.combine for name, kind in kinds.items()}, FAULTS: smallest(1)}
        self._as_json = {name: kind.as_json for name, kind in kinds.items()}

    def expand(self, results: Sequence[beam.PCollection]) -> beam.PCollection:
        """Takes a tuple of collections of results."""
        # Makes the step run where there is no result.
        begun = results[0].pipeline | 'Begin' >> beam.Create([None], reshuffle=False)
        return (
            (begun, *results)
            | 'All' >> beam.Flatten()
            | 'AddUp' >> beam.CombineGlobally(_AddUp(self._combines)).without_defaults()
            | 'Write' >> beam.Map(_write, self._path, self._as_json)
        )


def read_results(path: str) -> dict[str, Any]:
    """What `WriteResults` wrote.

    Args:
      path: of the file.

    Raises:
      EdgeError: the first of the faults.
    """
    with tf.io.gfile.GFile(path) as file:
        content: dict[str, Any] = json.loads(file.read())
    if 'fault' in content:
        raise EdgeError(content['fault'])
    return content


class _AddUp(beam.CombineFn):
    """Adds up results; accumulators are those of each name's own."""

    def __init__(self, combines: Mapping[str, beam.CombineFn]) -> None:
        self._combines = dict(combines)

    def create_accumulator(self) -> dict[str, Any]:
        return {name: combine.create_accumulator() for name, combine in self._combines.items()}

    def add_input(self, sums: dict[str, Any], result: tuple[str, Any] | None) -> dict[str, Any]:
        if result is not None:
            name, value = result
            sums[name] = self._combines[name].add_input(sums[name], value)
        return sums

    def merge_accumulators(self, several: Iterable[dict[str, Any]]) -> dict[str, Any]:
        several = list(several)
        return {
            name: combine.merge_accumulators([sums[name] for sums in several])
            for name, combine in self._combines.items()
        }

    def compact(self, sums: dict[str, Any]) -> dict[str, Any]:
        return {name: combine.compact(sums[name]) for name, combine in self._combines.items()}

    def extract_output(self, sums: dict[str, Any]) -> dict[str, Any]:
        return {name: combine.extract_output(sums[name]) for name, combine in self._combines.items()}


def _write(
    results: dict[str, Any], path: str, as_json: Mapping[str, Callable[[Any], dict[str, Any]]]
) -> None:
    faults = results[FAULTS]
    content: dict[str, Any] = {'fault': faults[0]} if faults else {}
    for name, to_keys in {} if faults else as_json.items():
        content |= to_keys(results[name])
    with tf.io.gfile.GFile(path, 'w') as file:
        file.write(json.dumps(content, sort_keys=True))
