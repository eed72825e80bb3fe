"""Adds up what observers see, on Beam: one step adds up all that is seen of the same extracts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from tfx_edge.components.core.evaluation.evaluators.observer import Observer, Seen, Sum

# The name of a Sum and an accumulator of its `combine`; None before the first value.
_SoFar = tuple[str, Any] | None


class AddUp(beam.PTransform):
    """The sums of all that observers see.

    Each worker adds up what it sees where it sees it: no example, and nothing as large, leaves it.

    Args:
      observers: that see the same extracts.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()
        self._observers = tuple(observers)
        self._sums = {added.name: added for observer in observers for added in observer.sums}

    def expand(self, extracts: Any) -> Any:
        """Takes TFMA's extracts; gives, of each part, the name of its Sum, its own and the figure."""
        combine = _AddUp({name: added.combine for name, added in self._sums.items()})
        return (
            extracts
            | 'Observe' >> beam.FlatMap(_seen, self._observers).with_output_types(tuple[str, tuple[str, Any]])
            | 'Sums' >> beam.CombinePerKey(combine)
            | 'Figures' >> beam.Map(_figure, self._sums)
        )


class _AddUp(beam.CombineFn):
    """Adds up each part by the `combine` of its Sum."""

    def __init__(self, combines: dict[str, beam.CombineFn]) -> None:
        self._combines = combines

    def setup(self) -> None:
        for combine in self._combines.values():
            combine.setup()

    def teardown(self) -> None:
        for combine in self._combines.values():
            combine.teardown()

    def create_accumulator(self) -> _SoFar:
        return None

    def add_input(self, so_far: _SoFar, seen: tuple[str, Any]) -> _SoFar:
        name, value = seen
        combine = self._combines[name]
        accumulator = combine.create_accumulator() if so_far is None else so_far[1]
        return name, combine.add_input(accumulator, value)

    def merge_accumulators(self, several: Iterable[_SoFar]) -> _SoFar:
        begun = [so_far for so_far in several if so_far is not None]
        if not begun:
            return None
        name = begun[0][0]
        return name, self._combines[name].merge_accumulators([accumulator for _, accumulator in begun])

    def compact(self, so_far: _SoFar) -> _SoFar:
        return so_far and (so_far[0], self._combines[so_far[0]].compact(so_far[1]))

    def extract_output(self, so_far: _SoFar) -> _SoFar:
        return so_far and (so_far[0], self._combines[so_far[0]].extract_output(so_far[1]))


def _seen(extracts: dict[str, Any], observers: Sequence[Observer]) -> Iterator[tuple[str, tuple[str, Any]]]:
    for observer in observers:
        for name, part, value in observer.observe(extracts):
            yield f'{name}/{part}', (name, value)


def _figure(added: tuple[str, tuple[str, Any]], sums: dict[str, Sum]) -> Seen:
    key, (name, total) = added
    part, figure = key.removeprefix(f'{name}/'), sums[name].figure
    return name, part, total if figure is None else figure(part, total)
