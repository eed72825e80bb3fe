"""The example whose values lie so far from all others' that no model can be trained on it, nor ranges be calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.record_places import numbered_records, place_text

# To what half of the examples hold at most. Squared by a loss, float32 ends at 10 ** 38.
_FAR = 1e6


class _Farthest(NamedTuple):
    name: str
    place: str
    magnitude: float
    ratio: float

    def told(self) -> str:
        return (
            f'{self.place}: feature {self.name!r} holds {self.magnitude:.3g} in magnitude, {self.ratio:.3g} times what '
            'half of the examples hold at most'
        )

    def remedy(self) -> str:
        return (
            'correct the example, or bound the feature: in the preprocessing_fn, or in the model itself '
            f'(minimum({self.name}, …)).'
        )


class _Magnitudes:
    """The largest magnitude in each example, by feature."""

    def __init__(self) -> None:
        self._all: dict[str, list[np.ndarray]] = {}
        self._largest: dict[str, tuple[float, str]] = {}

    def add(self, rows: Mapping[str, np.ndarray], place: str) -> None:
        for name, values in rows.items():
            if not np.issubdtype(values.dtype, np.number) or not values.size:
                continue
            found = np.abs(values.astype(np.float64)).reshape(len(values), -1).max(axis=1)
            self._all.setdefault(name, []).append(found)
            if found.max() > self._largest.get(name, (0.0, ''))[0]:
                self._largest[name] = float(found.max()), place

    def farthest(self) -> _Farthest | None:
        """The feature with the value farthest out; None where no value is a million times a usual one."""
        found = []
        for name, (magnitude, place) in self._largest.items():
            magnitudes = np.concatenate(self._all[name])
            usual = float(np.median(magnitudes[magnitudes > 0]))
            found.append(_Farthest(name, place, magnitude, magnitude / usual))
        farthest = max(found, key=lambda each: each.ratio, default=None)
        return farthest if farthest is not None and farthest.ratio >= _FAR else None


def outlying_feature(files: Sequence[str], parser: ExampleParser, consequence: str) -> EdgeError | None:
    """The error that names a feature whose largest value is a million times what half of the examples hold at most.

    Args:
      files: TFRecord files.
      parser: makes the model's inputs of the records.
      consequence: what came of it, as the end of a sentence.

    Returns:
      The error, for the feature that lies farthest out; None where the first 100,000 records have no such value.

    Raises:
      EdgeError: a file is unreadable.

    Example:
      ```
      fault = outlying_feature(files, parser, 'the loss is infinite')
      if fault is not None:
          raise fault
      ```
    """
    magnitudes = _Magnitudes()
    for file, number, record in numbered_records(files):
        magnitudes.add(parser([record]), place_text(file, number))
    found = magnitudes.farthest()
    return None if found is None else EdgeError(f'{found.told()}, and {consequence}; {found.remedy()}')


def outlying_input(batches: Sequence[Mapping[str, np.ndarray]], consequence: str) -> str:
    """The same, for examples whose records are not known.

    Args:
      batches: inputs of shape (batch, ...), by name.
      consequence: what came of it, as the end of a sentence.

    Returns:
      A sentence; '' where there is no such value.

    Example:
      >>> outlying_input([{'age': np.array([30.0, 41.0, 1e30])}], 'its range is as wide')[:51]
      "one of the examples: feature 'age' holds 1e+30 in m"
    """
    magnitudes = _Magnitudes()
    for batch in batches:
        magnitudes.add(batch, 'one of the examples')
    found = magnitudes.farthest()
    return '' if found is None else f'{found.told()}, and {consequence}; {found.remedy()}'
