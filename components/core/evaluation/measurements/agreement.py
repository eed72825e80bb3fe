"""How often two models give the same answer, counted exactly inside a TFMA run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfx_edge.components.core.evaluation.contenders.output_pairs import AnswerPairs
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, adding_up
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.gates.limits import MIN_AGREEMENT
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement

_FILE = 'agreement.json'


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of examples; integers add up to the same sum in any order.

    Attributes:
      examples: all.
      agreeing: those for which every output of both models has its largest value in the same place.
    """

    examples: int = 0
    agreeing: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.examples + other.examples, self.agreeing + other.agreeing)


def count(
    outputs: Mapping[str, str], candidate: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]
) -> Counts:
    """Counts one batch.

    Args:
      outputs: the candidate's output names to the baseline's.
      candidate: its outputs by name, arrays of shape (batch, classes).
      baseline: its outputs.

    Returns:
      The counts. An output with NaN agrees with nothing; of equal values the first counts as the largest.

    Example:
      >>> count({'': ''}, {'': np.array([[0.1, 0.9]])}, {'': np.array([[0.2, 0.8]])})
      Counts(examples=1, agreeing=1)
    """
    size = len(next(iter(candidate.values())))
    agreeing = np.ones(size, bool)
    for ours, theirs in outputs.items():
        agreeing &= _same_top(candidate[ours], baseline[theirs])
    return Counts(size, int(agreeing.sum()))


def agreement_gates(
    share: float | None, limit: float | None, obstacle: str = '', *, undecided_holds: bool = False
) -> tuple[Gate, ...]:
    """The gate `min_agreement`; none where nothing is demanded.

    Args:
      share: of the examples with the baseline's answer; None where it cannot be measured.
      limit: the least that it may be.
      obstacle: why it cannot be measured, or ''.
      undecided_holds: whether the gate holds where nothing was measured.

    Returns:
      The gate.

    Example:
      >>> agreement_gates(0.98, 0.99)[0].holds
      False
    """
    if limit is None:
        return ()
    holds = undecided_holds if share is None else share >= limit
    return (Gate(MIN_AGREEMENT.field, share, limit, holds, obstacle),)


class Agreement(Measurement):
    """The share of examples with the baseline's top-1 answer."""

    def observers(self) -> Sequence[Observer]:
        """Counts every batch, where there are answers to compare."""
        pairs = self.setting.evaluation.answers
        if pairs.baseline is None:
            return ()
        observe = functools.partial(_observe, pairs=pairs)
        return [adding_up('CountAgreement', self.path(_FILE), observe, _total, _as_text)]

    def read(self) -> Finding:
        """The share."""
        share, pairs = None, self.setting.evaluation.answers
        if pairs.baseline is not None:
            counts = self.taken(_FILE, lambda text: Counts(**json.loads(text)))
            share = counts.agreeing / counts.examples
        gates = agreement_gates(
            share,
            self.setting.limit(MIN_AGREEMENT),
            pairs.obstacle,
            undecided_holds=self.setting.undecided_holds,
        )
        return Finding(gates, {'agreement': share})


def _same_top(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    known = ~(np.isnan(ours).any(axis=1) | np.isnan(theirs).any(axis=1))
    return known & (np.argmax(ours, axis=1) == np.argmax(theirs, axis=1))


def _observe(extracts: Mapping[str, Any], pairs: AnswerPairs) -> Counts:
    assert pairs.baseline is not None
    return count(pairs.outputs, outputs_of(extracts, pairs.candidate), outputs_of(extracts, pairs.baseline))


def _total(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _as_text(counts: Counts) -> str:
    return json.dumps(dataclasses.asdict(counts))
