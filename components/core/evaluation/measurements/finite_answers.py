"""Whether a candidate and its baseline answer every example with finite numbers."""

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
      baseline_not_finite: those for which the baseline does.
    """

    examples: int = 0
    not_finite: int = 0
    baseline_not_finite: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.examples + other.examples,
            self.not_finite + other.not_finite,
            self.baseline_not_finite + other.baseline_not_finite,
        )


def count(outputs: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray] | None = None) -> Counts:
    """Counts one batch.

    Args:
      outputs: by name, arrays of shape (batch, ...).
      baseline: likewise, of the baseline.

    Returns:
      The counts.

    Example:
      >>> count({'': np.array([[0.1, 0.9], [np.nan, 0.0]])})
      Counts(examples=2, not_finite=1, baseline_not_finite=0)
    """
    size = len(next(iter(outputs.values())))
    return Counts(size, _not_finite(outputs, size), _not_finite(baseline or {}, size))


def _not_finite(outputs: Mapping[str, np.ndarray], size: int) -> int:
    finite = np.ones(size, bool)
    for values in outputs.values():
        finite &= np.isfinite(values).reshape(size, -1).all(axis=1)
    return int((~finite).sum())


class FiniteAnswers(Measurement):
    """Counts the examples, and those with an answer that is no finite number, of either model: none may be."""

    def observers(self) -> Sequence[Observer]:
        """Counts every batch."""
        baseline = self.setting.evaluation.baseline
        observe = functools.partial(
            _observe,
            candidate=self.setting.evaluation.candidate.name,
            baseline=None if baseline is None else baseline.name,
        )
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
        held = [(counts.not_finite, ''), (counts.baseline_not_finite, ' of the baseline')]
        detail = '; '.join(
            f'{bad} of {counts.examples} examples get NaN or infinity as an answer{whose}'
            for bad, whose in held
            if bad
        )
        bad = max(bad for bad, _ in held)
        return Finding(at_most('finite_predictions', bad, 0, detail), {'examples': counts.examples})


def _observe(extracts: Mapping[str, Any], candidate: str, baseline: str | None) -> Counts:
    return count(
        outputs_of(extracts, candidate), None if baseline is None else outputs_of(extracts, baseline)
    )


def _total(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _as_text(counts: Counts) -> str:
    return json.dumps(dataclasses.asdict(counts))
