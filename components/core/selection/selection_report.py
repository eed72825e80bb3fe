"""`selection.json`: every candidate with its figures, which one was chosen, and why the others were not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from tfx_edge.components.core.selection.candidate import Candidate
from tfx_edge.components.core.selection.choice import Aim, Choice
from tfx_edge.components.core.selection.common_metric import MetricValue, value_of
from tfx_edge.components.core.selection.figures import figures, titles

FORMAT_VERSION: Literal[1] = 1


class Axis(TypedDict):
    """What candidates are compared by, beside the metric; less is better.

    Attributes:
      key: of `CandidateRow.figures`, such as 'zip_bytes' or 'ethos-u55-128 cycles'.
      title: in words, such as 'zip bytes'.
      is_objective: whether the choice minimises it.
    """

    key: str
    title: str
    is_objective: bool


class MetricRow(TypedDict):
    """A metric over all examples.

    Attributes:
      value: of the metric.
      low: lower end of its 95 % interval; null where there is none.
      high: upper end of the same.
    """

    value: float
    low: float | None
    high: float | None


class MetricPart(TypedDict):
    """The metric that candidates are compared by.

    Attributes:
      name: TFMA's.
      output: of a model with several; '' for the only one.
      higher_is_better: false for errors and losses.
      interval: where the intervals come from, in a sentence; '' where there are none.
      is_objective: whether the choice makes the best of it.
      baseline: the baseline's; null without one.
    """

    name: str
    output: str
    higher_is_better: bool
    interval: str
    is_objective: bool
    baseline: MetricRow | None


class KernelWeights(TypedDict):
    """Histograms of one kernel's weights, as EdgeEvaluator's report has them: 41 bins from -limit to +limit.

    Attributes:
      name: of the tensor.
      limit: the largest magnitude.
      before: counts of the baseline's file.
      after: counts of the candidate's.
      zeros: of the candidate's.
      distinct: of the candidate's values.
      zeros_before: of the baseline's.
      distinct_before: of the baseline's values.
    """

    name: str
    limit: float
    before: list[int]
    after: list[int]
    zeros: int
    distinct: int
    zeros_before: int
    distinct_before: int


class CandidateRow(TypedDict):
    """One candidate.

    Attributes:
      route: its name, such as 'zeros50-clusters16-qat-int8'.
      steps: of the route, in order, such as ['zeros50', 'clusters16', 'qat', 'int8'].
      recipe: lines of Python that make it, or ''.
      verdict: EdgeEvaluator's; 'NO_EVALUATION' where the candidate or its evaluation did not arrive.
      reasons: why it holds not every limit, or did not arrive; one line each.
      outcome: why it was chosen, or not, in one line.
      on_front: of those that hold every limit (of all, where none does): whether no other is at least as good by
        objective and metric, and better by one. Where the metric is the objective, zip bytes are the other.
      metric: null where it was not measured.
      figures: by the axes' keys; null where not measured.
      report: where its report.json lies; '' without one.
      weights: of its kernels; [] where not known.
    """

    route: str
    steps: list[str]
    recipe: str
    verdict: Literal['BLESSED', 'NOT_BLESSED', 'NO_EVALUATION']
    reasons: list[str]
    outcome: str
    on_front: bool
    metric: MetricRow | None
    figures: dict[str, float | None]
    report: str
    weights: list[KernelWeights]


class SelectionReport(TypedDict):
    """EdgeSelector's selection.json, format version 1.

    Attributes:
      format_version: 1.
      verdict: of the chosen candidate.
      chosen: its route.
      reason: why it was chosen, in one line.
      examples: on how many each candidate was evaluated.
      metric: null where the candidates have none in common.
      axes: in the order in which they are shown; the objective's is among them unless that is the metric.
      candidates: in the order of EdgeSelector's arguments.
      notes: what a reader should know.
    """

    format_version: Literal[1]
    verdict: Literal['BLESSED', 'NOT_BLESSED']
    chosen: str
    reason: str
    examples: int
    metric: MetricPart | None
    axes: list[Axis]
    candidates: list[CandidateRow]
    notes: list[str]


def make_report(candidates: Sequence[Candidate], choice: Choice, aim: Aim) -> SelectionReport:
    """The report as JSON values.

    Args:
      candidates: that were chosen among.
      choice: of `choose`.
      aim: that it was made with.

    Returns:
      What `selection.json` holds.
    """
    keys = titles(candidates)
    chosen = candidates[choice.place]
    examples = [c.report['examples'] for c in candidates if c.report is not None]
    return SelectionReport(
        format_version=FORMAT_VERSION,
        verdict='BLESSED' if choice.holds_all else 'NOT_BLESSED',
        chosen=chosen.route.name,
        reason=choice.outcomes[choice.place],
        examples=(chosen.report or {})['examples'],
        metric=_metric_part(candidates, aim),
        axes=[
            Axis(key=key, title=title, is_objective=key == aim.figure and not aim.by_metric)
            for key, title in keys.items()
        ],
        candidates=[
            _row(candidate, choice.outcomes[place], place in choice.front, aim, list(keys))
            for place, candidate in enumerate(candidates)
        ],
        notes=_notes(candidates, examples),
    )


def _notes(candidates: Sequence[Candidate], examples: Sequence[int]) -> list[str]:
    absent = [candidate.route.name for candidate in candidates if candidate.report is None]
    notes = []
    if absent:
        notes.append(
            f'{len(absent)} of {len(candidates)} candidates did not arrive: {", ".join(absent)}; the choice is among '
            'the others'
        )
    if len(set(examples)) > 1:
        counts = ', '.join(f'{count:,}' for count in sorted(set(examples)))
        notes.append(f'the candidates were evaluated on different numbers of examples: {counts}')
    return notes


def _metric_part(candidates: Sequence[Candidate], aim: Aim) -> MetricPart | None:
    metric = aim.metric
    if metric is None:
        return None
    reports = [candidate.report for candidate in candidates if candidate.report is not None]
    values = [value for report in reports if (value := value_of(report, metric)) is not None]
    baselines = [value_of(report, metric, 'baseline') for report in reports]
    return MetricPart(
        name=metric.name,
        output=metric.output,
        higher_is_better=metric.higher_is_better,
        interval=next((value.interval for value in values if value.interval), ''),
        is_objective=aim.by_metric,
        baseline=_metric_row(next((value for value in baselines if value is not None), None)),
    )


def _metric_row(value: MetricValue | None) -> MetricRow | None:
    return None if value is None else MetricRow(value=value.value, low=value.low, high=value.high)


def _row(candidate: Candidate, outcome: str, on_front: bool, aim: Aim, keys: Sequence[str]) -> CandidateRow:
    report = candidate.report
    measured = {} if report is None else figures(report)
    return CandidateRow(
        route=candidate.route.name,
        steps=list(candidate.route.steps),
        recipe=candidate.route.recipe,
        verdict='NO_EVALUATION' if report is None else report['verdict'],
        reasons=candidate.missed,
        outcome=outcome,
        on_front=on_front,
        metric=None if report is None else _metric_row(value_of(report, aim.metric)),
        figures={key: measured.get(key) for key in keys},
        report=candidate.report_file,
        weights=[] if report is None else _weights(report),
    )


def _weights(report: Mapping[str, Any]) -> list[KernelWeights]:
    return [
        KernelWeights(
            name=kernel['name'],
            limit=kernel['limit'],
            before=kernel['before'],
            after=kernel['after'],
            zeros=kernel['zeros_after'],
            distinct=kernel['distinct_after'],
            zeros_before=kernel['zeros_before'],
            distinct_before=kernel['distinct_before'],
        )
        for kernel in report['weights']['kernels']
    ]


def to_json(report: SelectionReport | Mapping[str, Any]) -> str:
    """The text of `selection.json`; strict JSON, which has no NaN."""
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + '\n'
