"""The example whose values lie so far from all others' that a model cannot be trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.record_places import numbered_records, place_text

# To what half of the examples hold at most. Squared by a loss, float32 ends at 10 ** 38.
_FAR = 1e6


class _Largest(NamedTuple):
    magnitude: float
    file: str
    number: int


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
      >>> outlying_feature(files, parser, 'the loss is infinite')
      EdgeError("record 3 of Split-train/data-00000-of-00001.gz: feature 'age' holds 1e+30, …")
    """
    magnitudes: dict[str, list[float]] = {}
    largest: dict[str, _Largest] = {}
    for file, number, record in numbered_records(files):
        for name, values in parser([record]).items():
            if not np.issubdtype(values.dtype, np.number) or not values.size:
                continue
            magnitude = float(np.max(np.abs(values.astype(np.float64))))
            magnitudes.setdefault(name, []).append(magnitude)
            if magnitude > largest.get(name, _Largest(0.0, file, number)).magnitude:
                largest[name] = _Largest(magnitude, file, number)
    ratios = {name: _ratio(largest[name].magnitude, magnitudes[name]) for name in largest}
    name = max(ratios, key=lambda each: ratios[each], default='')
    if not name or ratios[name] < _FAR:
        return None
    found = largest[name]
    return EdgeError(
        f'{place_text(found.file, found.number)}: feature {name!r} holds {found.magnitude:.3g} in magnitude, '
        f'{ratios[name]:.3g} times what half of the examples hold at most, and {consequence}; correct the example, or '
        f'bound the feature: in the preprocessing_fn, or in the model itself (minimum({name}, …)).'
    )


def _ratio(magnitude: float, magnitudes: Sequence[float]) -> float:
    """Of a magnitude to the median of those that are not zero."""
    return magnitude / float(np.median([each for each in magnitudes if each]))
