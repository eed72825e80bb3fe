"""Tests on every slice whether a candidate is worse than its baseline by less than a margin."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.gates.rules import Rules
from tfx_edge.components.core.evaluation.metrics.tested_metrics import TestedMetric
from tfx_edge.components.core.evaluation.statistics.paired_test import PairedTest
from tfx_edge.components.core.evaluation.statistics.slice_comparison import SliceComparison

Outcome: TypeAlias = Literal['holds', 'fails', 'undecided']
HOLDS: Outcome = 'holds'
FAILS: Outcome = 'fails'
UNDECIDED: Outcome = 'undecided'
GATE = 'max_metric_drop'


@dataclasses.dataclass(frozen=True)
class Judged:
    """One metric on one slice, and the outcome of its test.

    Attributes:
      tested: the metric.
      slice: the examples; None where the models could not be compared at all.
      test: None where nothing was measured.
      outcome: HOLDS, FAILS or UNDECIDED.
      why: why the test is undecided, or ''.
      p_fails_corrected: p_fails after Holm's correction for all tests; None where the test was not made.
    """

    tested: TestedMetric
    slice: SliceComparison | None
    test: PairedTest | None
    outcome: Outcome
    why: str
    p_fails_corrected: float | None


def judge_tests(
    tested: Sequence[TestedMetric], slices: Sequence[SliceComparison], rules: Rules, obstacle: str = ''
) -> tuple[Judged, ...]:
    """Decides each metric on each slice.

    A test holds if a drop of the margin or more is rejected. The model needs all of them: an intersection-union
    test, which needs no correction for their number, as each violation is blessed with a probability of at most
    `1 - confidence` (Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24:295-300,
    1982). A test fails if a drop of the margin or less is rejected, after Holm's correction for all tests that
    are made (Holm, A simple sequentially rejective multiple test procedure, 1979). Everything else is undecided.

    Args:
      tested: the metrics.
      slices: what was measured, each with a test for each metric.
      rules: for the verdict.
      obstacle: why nothing could be measured, or ''.

    Returns:
      The outcome for each metric on each slice; one undecided entry for each metric where there is no slice.
    """
    if not slices:
        return tuple(Judged(metric, None, None, UNDECIDED, obstacle, None) for metric in tested)
    entries = [
        (metric, part, part.tests[number], _too_little(part, number, rules))
        for number, metric in enumerate(tested)
        for part in slices
    ]
    made = [test.p_fails for _, _, test, why in entries if test is not None and not why]
    corrected = iter(_holm(made))
    level = 1 - rules.confidence
    judged: list[Judged] = []
    for metric, part, test, why in entries:
        if test is None or why:
            judged.append(Judged(metric, part, test, UNDECIDED, why, None))
            continue
        p_fails = next(corrected)
        outcome: Outcome = HOLDS if test.p_holds <= level else FAILS if p_fails <= level else UNDECIDED
        why = 'the examples are too few to decide' if outcome == UNDECIDED else ''
        judged.append(Judged(metric, part, test, outcome, why, p_fails))
    return tuple(judged)


def gates_of(judged: Sequence[Judged], rules: Rules) -> tuple[Gate, ...]:
    """A gate for each metric and slice: measured is the drop, the limit its margin."""
    return tuple(
        Gate(
            f'{GATE} {entry.tested.name} {entry.slice.name}'
            if entry.slice
            else f'{GATE} {entry.tested.name}',
            None if entry.test is None else entry.test.drop,
            entry.tested.margin,
            entry.outcome == HOLDS or (entry.outcome == UNDECIDED and rules.bless_undecided),
            _detail(entry, rules),
        )
        for entry in judged
    )


def _too_little(part: SliceComparison, number: int, rules: Rules) -> str:
    if part.unmeasured[number]:
        return f'{part.unmeasured[number]} of {part.examples} examples have no finite value of the metric'
    if part.examples < rules.min_slice_examples:
        return f'{part.examples} examples are fewer than min_slice_examples, {rules.min_slice_examples}'
    return ''


def _holm(p_values: Sequence[float]) -> list[float]:
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _detail(entry: Judged, rules: Rules) -> str:
    outcome = f'{entry.outcome}: {entry.why}' if entry.why else entry.outcome
    if entry.test is None:
        return outcome
    test = entry.test
    return (
        f'{outcome}; at {rules.confidence:.12g} the drop is below {test.upper:.6g} and above {test.lower:.6g}, from '
        f'{test.baseline:.6g} to {test.candidate:.6g} on {test.examples} examples'
    )
