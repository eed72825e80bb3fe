"""What two models do on one slice of the examples, as figures that are written and read back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.metrics.tested_metrics import TestedMetric
from tfx_edge.components.core.evaluation.statistics.paired_bootstrap import BootstrapSums, bootstrap_test
from tfx_edge.components.core.evaluation.statistics.paired_proportions import PairedCounts, score_test
from tfx_edge.components.core.evaluation.statistics.paired_test import PairedTest
from tfx_edge.components.core.evaluation.statistics.slice_statistics import SliceStatistics, TestKind

Slice = tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Attributes:
      config: TFMA's configuration, completed.
      candidate: name of the candidate's ModelSpec.
      baseline: name of the baseline's.
      outputs: the candidate's output names to the baseline's; a single output under ''.
      answers: whether there are outputs whose largest value is an answer.
      labelled: the outputs for which the configuration names a label.
      tested: metrics that must not be worse by their margins.
      is_share: for each tested metric, whether its values are 0 or 1.
      confidence: of the tests.
      max_flips: how many flips are listed at most.
      asides: outputs whose largest value is no answer, such as a key.
    """

    config: tfma.EvalConfig
    candidate: str
    baseline: str
    outputs: Mapping[str, str]
    answers: bool
    labelled: tuple[str, ...]
    tested: tuple[TestedMetric, ...] = ()
    is_share: tuple[bool, ...] = ()
    confidence: float = 0.95
    max_flips: int = 0
    asides: tuple[str, ...] = ()

    @property
    def answering(self) -> tuple[str, ...]:
        """The outputs whose largest value is an answer."""
        return tuple(name for name in self.outputs if self.answers and name not in self.asides)

    def no_statistics(self) -> SliceStatistics:
        """Statistics without any example, to add examples to."""
        kinds = [
            TestKind(is_share, tested.metric.is_loss)
            for tested, is_share in zip(self.tested, self.is_share, strict=True)
        ]
        return SliceStatistics.none(len(self.outputs), kinds)


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """How far one output of the models is apart; None where that means nothing."""

    output: str
    largest: float | None
    mean: float | None
    mean_divergence: float | None


@dataclasses.dataclass(frozen=True)
class SliceComparison:
    """Candidate against baseline on one slice.

    Attributes:
      slice: its features and values; () for all examples.
      examples: how many.
      agreement: share on which both answer the same; None where there is no top-1 answer.
      labelled: how many have a label that is a class.
      worse: how many the baseline answers right and the candidate wrong.
      better: how many the other way round.
      differences: of each output.
      tests: of each metric of the plan; None where no example was measured.
      unmeasured: for each metric, how many examples have no finite value of it.
    """

    slice: Slice
    examples: int
    agreement: float | None
    labelled: int
    worse: int
    better: int
    differences: tuple[OutputDifference, ...]
    tests: tuple[PairedTest | None, ...]
    unmeasured: tuple[int, ...]

    @property
    def name(self) -> str:
        """How gates and reports name the slice: 'country=de, age=3', 'all examples'."""
        return slice_name(self.slice)


def slice_name(slice_: Slice) -> str:
    """How gates and reports name a slice."""
    return ', '.join(f'{column}={value}' for column, value in slice_) or 'all examples'


def compared(plan: Plan, slice_: Slice, statistics: SliceStatistics) -> SliceComparison:
    """The figures of one slice.

    Args:
      plan: what was compared.
      slice_: its features and values.
      statistics: of its examples.
    """
    tests = [
        _test(sums, tested.margin, plan.confidence)
        for tested, sums in zip(plan.tested, statistics.sums, strict=True)
    ]
    differences = [
        OutputDifference(name, d.largest if d.examples else None, d.mean, d.mean_divergence)
        for name, d in zip(plan.outputs, statistics.differences, strict=True)
    ]
    has_answers = plan.answers and statistics.examples > 0
    return SliceComparison(
        slice_,
        statistics.examples,
        statistics.agreeing / statistics.examples if has_answers else None,
        statistics.labelled,
        statistics.worse,
        statistics.better,
        tuple(differences),
        tuple(tests),
        tuple(sums.unmeasured if isinstance(sums, BootstrapSums) else 0 for sums in statistics.sums),
    )


def slice_text(key: Iterable[tuple[str, Any]]) -> str:
    """A slice key of TFMA as text, which any runner can group by."""
    return json.dumps([[column, _plain(value)] for column, value in key])


def slice_of(text: str) -> Slice:
    """The slice that `slice_text` wrote."""
    return tuple((column, value) for column, value in json.loads(text))


def to_text(slices: Sequence[SliceComparison]) -> str:
    """The figures as text, all examples first, then the slices in order of their features."""
    entries = [dataclasses.asdict(part) for part in slices]
    in_order = sorted(entries, key=lambda entry: (len(entry['slice']), json.dumps(entry['slice'])))
    return json.dumps(in_order, allow_nan=False)


def from_text(text: str) -> tuple[SliceComparison, ...]:
    """The figures that `to_text` wrote."""
    return tuple(_from_json(entry) for entry in json.loads(text))


def _test(sums: PairedCounts | BootstrapSums, margin: float, confidence: float) -> PairedTest | None:
    if isinstance(sums, PairedCounts):
        return score_test(sums, margin, confidence) if sums.examples else None
    return bootstrap_test(sums, margin, confidence) if sums.examples > sums.unmeasured else None


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value


def _from_json(entry: Mapping[str, Any]) -> SliceComparison:
    return SliceComparison(
        **{
            **entry,
            'slice': tuple((column, value) for column, value in entry['slice']),
            'differences': tuple(OutputDifference(**d) for d in entry['differences']),
            'tests': tuple(test and PairedTest(**test) for test in entry['tests']),
            'unmeasured': tuple(entry['unmeasured']),
        }
    )
