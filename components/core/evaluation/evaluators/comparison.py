"""Candidate against baseline, example by example and slice by slice, inside a TFMA run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators import flips
from tfx_edge.components.core.evaluation.evaluators.label_and_prediction import label_and_prediction
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, Seen, Sum
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_text
from tfx_edge.components.core.evaluation.metrics.tested_metrics import TestedMetric
from tfx_edge.components.core.evaluation.statistics.slice_comparison import (
    Plan,
    SliceComparison,
    compared,
    slice_name,
    slice_of,
    slice_text,
    to_text,
)
from tfx_edge.components.core.evaluation.statistics.slice_statistics import Observation, SliceStatistics
from tfx_edge.components.core.examples.example_parser import content_hash
from tfx_edge.components.core.smallest_values import smallest

_SLICES, _FLIPS = 'edge_slices', 'edge_flips'


def comparing(plan: Plan, slices_path: str, flips_path: str) -> Observer:
    """An observer that compares two models on the slices that TFMA makes, and on all examples.

    Args:
      plan: what is compared, and how.
      slices_path: of the text that `slice_comparison.from_text` reads.
      flips_path: of the TFRecord file of flips.

    Returns:
      The observer.
    """

    def figures(part: str, statistics: SliceStatistics) -> SliceComparison:
        return compared(plan, slice_of(part), statistics)

    def write_slices(slices: Mapping[str, SliceComparison]) -> None:
        write_text(slices_path, to_text([*slices.values()]))

    def write_flips(chosen: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> None:
        flips.write_flips([record for _, record in chosen.get('', ())], flips_path)

    return Observer(
        _Comparison(plan),
        (
            Sum(_SLICES, _Collect(plan), write_slices, figures),
            Sum(_FLIPS, smallest(max(plan.max_flips, 1)), write_flips),
        ),
        run_after=tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME,
    )


class _Comparison:
    """Sees an example's Observation, for each of its slices; and a flip, with the hash of its content."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._resampled = not all(plan.is_share)

    def __call__(self, extracts: dict[str, Any]) -> Iterator[Seen]:
        plan = self._plan
        candidate = outputs_of(extracts, plan.candidate)
        baseline = outputs_of(extracts, plan.baseline)
        outputs = {
            ours: (np.ravel(candidate[ours]), np.ravel(baseline[theirs]))
            for ours, theirs in plan.outputs.items()
        }
        answering = {name: outputs[name] for name in plan.answering}
        pair = functools.cache(functools.partial(label_and_prediction, extracts, plan.config))
        labels: dict[str, int | None] = {
            name: flips.class_of(pair(plan.candidate, name)[0], len(ours)) if name in plan.labelled else None
            for name, (ours, _) in answering.items()
        }
        answers = [
            flips.Answers(labels[name], flips.answer(ours), flips.answer(theirs))
            for name, (ours, theirs) in answering.items()
        ]
        record = _record(extracts)
        seen = self._observation(answers, tuple(outputs.values()), pair, record)
        slices = sorted({slice_text(key) for key in extracts[tfma.SLICE_KEY_TYPES_KEY]} | {slice_text(())})
        for slice_ in slices:
            yield _SLICES, slice_, seen
        if seen.worse and plan.max_flips:
            names = sorted(slice_name(slice_of(text)) for text in slices)
            flip = flips.flip_example(record, answering, labels, names)
            yield _FLIPS, '', (content_hash(record), flip)

    def _observation(
        self,
        answers: Sequence[flips.Answers],
        outputs: tuple[tuple[np.ndarray, np.ndarray], ...],
        pair: Callable[[str, str], tuple[np.ndarray, np.ndarray]],
        record: bytes,
    ) -> Observation:
        plan = self._plan

        def measured(tested: TestedMetric, model: str) -> float:
            return _value(tested, *pair(model, tested.output_name))

        return Observation(
            agrees=all(a.candidate == a.baseline is not None for a in answers) if plan.answers else None,
            labelled=any(a.label is not None for a in answers),
            worse=any(a.is_worse for a in answers),
            better=any(a.is_better for a in answers),
            outputs=outputs,
            values=tuple((measured(t, plan.candidate), measured(t, plan.baseline)) for t in plan.tested),
            content=content_hash(record) if self._resampled else b'',
        )


def _value(tested: TestedMetric, label: np.ndarray, prediction: np.ndarray) -> float:
    try:
        if not label.size:
            raise ValueError('there is none')
        return tested.metric(label, prediction)
    except (ValueError, TypeError) as error:
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop cannot compute {tested.name!r} of the label '
            f'{label.tolist()[:10]} and {prediction.size} predictions ({error}); expected labels that the metric is '
            'for. Correct the metric, or the labels.'.replace('\n', ' ')
        ) from error


def _record(extracts: dict[str, Any]) -> bytes:
    record = extracts[tfma.INPUT_KEY]
    return record if isinstance(record, bytes) else bytes(np.asarray(record).item())


class _Collect(beam.CombineFn):
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def create_accumulator(self) -> SliceStatistics:
        return self._plan.no_statistics()

    def add_input(self, statistics: SliceStatistics, seen: Observation) -> SliceStatistics:
        statistics.add(seen)
        return statistics

    def merge_accumulators(self, several: Iterable[SliceStatistics]) -> SliceStatistics:
        total = self.create_accumulator()
        for statistics in several:
            total.merge(statistics)
        return total

    def extract_output(self, statistics: SliceStatistics) -> SliceStatistics:
        return statistics
