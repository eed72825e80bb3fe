"""The parts of `report.json` that compare the candidate with its baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from tfx_edge.components.core.evaluation.evaluators.flips import Flip
from tfx_edge.components.core.evaluation.gates.non_inferiority import Judged, Outcome, Rules
from tfx_edge.components.core.evaluation.metrics.tfma_names import SliceFeatures
from tfx_edge.components.core.evaluation.statistics.paired_test import PairedTest
from tfx_edge.components.core.evaluation.statistics.slice_comparison import OutputDifference, SliceComparison


class SliceDifferences(TypedDict):
    """Agreement and differences on one slice.

    Attributes:
      slice: its features and values; [] for all examples.
      examples: how many.
      agreement: share on which both answer the same; null where there is no top-1 answer.
      differences: of each output: absolute, and the Kullback-Leibler divergence of baseline to candidate in nats, which
        is null for what is no probabilities.
    """

    slice: SliceFeatures
    examples: int
    agreement: float | None
    differences: list[OutputDifference]


class ComparisonPart(TypedDict):
    """How far the models' answers are apart.

    Attributes:
      not_compared: why nothing was compared, or ''.
      slices: all examples first.
    """

    not_compared: str
    slices: list[SliceDifferences]


class TestedSlice(TypedDict):
    """One test of `max_metric_drop`, with every number that its outcome rests on.

    Attributes:
      metric: tested.
      output: that it is of; '' for the only one.
      margin: the drop that is too large.
      slice: null where nothing was compared.
      outcome: of the test.
      why: it is undecided, or ''.
      p_fails_corrected: p_fails after Holm's correction for all tests; null where the test was not made.
      test: null where nothing was measured.
    """

    metric: str
    output: str
    margin: float
    slice: SliceFeatures | None
    outcome: Outcome
    why: str
    p_fails_corrected: float | None
    test: PairedTest | None


class NonInferiorityPart(TypedDict):
    """The tests of `max_metric_drop`, and the rules for the verdict.

    Attributes:
      confidence: of each test.
      min_slice_examples: fewer leave a test undecided.
      bless_undecided: whether a test that is undecided lets the model pass.
      tests: for each metric, for each slice.
    """

    confidence: float
    min_slice_examples: int
    bless_undecided: bool
    tests: list[TestedSlice]


class SliceFlips(TypedDict):
    """How many examples of a slice changed from right to wrong, and back.

    Attributes:
      slice: its features and values; [] for all examples.
      examples: how many.
      labelled: those whose label is a class.
      worse: right in the baseline, wrong in the candidate.
      better: the other way round.
    """

    slice: SliceFeatures
    examples: int
    labelled: int
    worse: int
    better: int


class OutputAnswers(TypedDict):
    """The classes that were right and answered in one output; null for what is no class."""

    output: str
    label: int | None
    candidate: int | None
    baseline: int | None


class ListedFlip(TypedDict):
    """A tf.Example of the list of flips.

    Attributes:
      place: in the file.
      slices: names of those that it is in.
      outputs: the label and both answers of each.
    """

    place: int
    slices: list[str]
    outputs: list[OutputAnswers]


class FlipsPart(TypedDict):
    """How many examples changed from right to wrong, and which.

    Attributes:
      not_told: why that is not known, or ''.
      file: name of the list; null where there is none.
      slices: all examples first.
      listed: what the list holds, in its order.
    """

    not_told: str
    file: str | None
    slices: list[SliceFlips]
    listed: list[ListedFlip]


def comparison_part(slices: Sequence[SliceComparison], obstacle: str) -> ComparisonPart:
    """Agreement and differences, on all examples and on each slice.

    Args:
      slices: what was measured; all examples first.
      obstacle: why nothing was compared, or ''.

    Returns:
      The part.
    """
    return ComparisonPart(
        not_compared=obstacle,
        slices=[
            SliceDifferences(
                slice=_slice(part),
                examples=part.examples,
                agreement=part.agreement,
                differences=list(part.differences),
            )
            for part in slices
        ],
    )


def non_inferiority_part(judged: Sequence[Judged], rules: Rules) -> NonInferiorityPart:
    """The tests of `max_metric_drop`, with every number that their outcome rests on.

    Args:
      judged: the tests.
      rules: for the verdict.

    Returns:
      The part.
    """
    return NonInferiorityPart(
        confidence=rules.confidence,
        min_slice_examples=rules.min_slice_examples,
        bless_undecided=rules.bless_undecided,
        tests=[
            TestedSlice(
                metric=entry.tested.label,
                output=entry.tested.output_name,
                margin=entry.tested.margin,
                slice=None if entry.slice is None else _slice(entry.slice),
                outcome=entry.outcome,
                why=entry.why,
                p_fails_corrected=entry.p_fails_corrected,
                test=entry.test,
            )
            for entry in judged
        ],
    )


def flips_part(
    slices: Sequence[SliceComparison], obstacle: str, file: str | None, listed: Iterable[Flip]
) -> FlipsPart:
    """How many examples changed from right to wrong, and back.

    Args:
      slices: what was measured.
      obstacle: why flips are not known, or ''.
      file: name of the list of flips; None where there is none.
      listed: the flips in that file, in its order.

    Returns:
      The part.
    """
    return FlipsPart(
        not_told=obstacle,
        file=file,
        slices=[
            SliceFlips(
                slice=_slice(part),
                examples=part.examples,
                labelled=part.labelled,
                worse=part.worse,
                better=part.better,
            )
            for part in ([] if obstacle else slices)
        ],
        listed=[
            ListedFlip(place=place, slices=list(flip.slices), outputs=_answers(flip))
            for place, flip in enumerate(listed)
        ],
    )


def _answers(flip: Flip) -> list[OutputAnswers]:
    return [
        OutputAnswers(
            output=name, label=answers.label, candidate=answers.candidate, baseline=answers.baseline
        )
        for name, answers in flip.outputs.items()
    ]


def _slice(part: SliceComparison) -> SliceFeatures:
    return list(part.slice)
