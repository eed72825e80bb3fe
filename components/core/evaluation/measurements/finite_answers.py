"""Whether a candidate answers every example with finite numbers."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, adding_up
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
from tfx_edge.components.core.evaluation.gates.gate import at_most
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement

_LOG = logging.getLogger(__name__)
_FILE = 'counts.json'


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of examples; integers add up to the same sum in any order.

    Attributes:
      examples: all.
      not_finite: those for which the candidate answers NaN or infinity.
    """

    examples: int = 0
    not_finite: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.examples + other.examples, self.not_finite + other.not_finite)


def count(outputs: Mapping[str, np.ndarray]) -> Counts:
    """Counts one batch.

    Args:
      outputs: by name, arrays of shape (batch, ...).

    Returns:
      The counts.

    Example:
      >>> count({'': np.array([[0.1, 0.9], [np.nan, 0.0]])})
      Counts(examples=2, not_finite=1)
    """
    size = len(next(iter(outputs.values())))
    finite = np.ones(size, bool)
    for values in outputs.values():
        finite &= np.isfinite(values).reshape(size, -1).all(axis=1)
    return Counts(size, int((~finite).sum()))


class FiniteAnswers(Measurement):
    """Counts the examples, and those with an answer that is no finite number: none may be."""

    def observers(self) -> Sequence[Observer]:
        """Counts every batch."""
        observe = functools.partial(_observe, candidate=self.setting.evaluation.candidate.name)
        return [adding_up('CountExamples', self.path(_FILE), observe, _total, _as_text)]

    def read(self) -> Finding:
        """The counts.

        Raises:
          EdgeError: there is no example.
        """
        counts = self.taken(_FILE, lambda text: Counts(**json.loads(text)))
        if not counts.examples:
            files = ', '.join(self.setting.files)
            raise EdgeError(f'there is no example in {files}; give examples to evaluate on.')
        _LOG.info('evaluated %d examples', counts.examples)
        bad = counts.not_finite
        detail = f'{bad} of {counts.examples} examples get NaN or infinity as an answer' if bad else ''
        return Finding(at_most('finite_predictions', bad, 0, detail), {'examples': counts.examples})


def _observe(extracts: Mapping[str, Any], candidate: str) -> Counts:
    return count(outputs_of(extracts, candidate))


def _total(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _as_text(counts: Counts) -> str:
    return json.dumps(dataclasses.asdict(counts))
