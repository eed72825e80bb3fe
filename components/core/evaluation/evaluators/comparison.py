"""Candidate against baseline, example by example and slice by slice, inside a TFMA run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators import flips
from tfx_edge.components.core.evaluation.evaluators.label_and_prediction import label_and_prediction
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, text_writer
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
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
    evaluator = tfma.evaluators.Evaluator(
        stage_name='CompareWithBaseline',
        run_after=tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_CompareAll(plan),
    )
    flips_writer = tfma.writers.Writer(
        stage_name='WriteFlips',
        ptransform=tfma.writers.Write(key=_FLIPS, ptransform=_WriteFlips(flips_path)),
    )
    return Observer(evaluator, (text_writer(_SLICES, slices_path, to_text), flips_writer))


class _CompareAll(beam.PTransform):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, extracts: Any) -> dict[str, Any]:
        observed = extracts | 'Observe' >> beam.ParDo(_Observe(self._plan)).with_outputs(_FLIPS, main=_SLICES)
        return {
            _SLICES: observed[_SLICES]
            | 'BySlice' >> beam.FlatMap(_by_slice)
            | 'Statistics' >> beam.CombinePerKey(_Collect(self._plan))
            | 'Figures' >> beam.Map(_figures, self._plan)
            | 'AllSlices' >> beam.combiners.ToList(),
            _FLIPS: observed[_FLIPS]
            | 'SmallestHashes' >> beam.combiners.Top.Smallest(max(self._plan.max_flips, 1)),
        }


class _Observe(beam.DoFn):
    """Yields an example's slices with its Observation; a flip, with the hash of its content, goes to the tag _FLIPS."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._resampled = not all(plan.is_share)

    def process(self, extracts: dict[str, Any]) -> Iterator[Any]:
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
        yield slices, seen
        if seen.worse and plan.max_flips:
            names = sorted(slice_name(slice_of(text)) for text in slices)
            flip = flips.flip_example(record, answering, labels, names)
            yield beam.pvalue.TaggedOutput(_FLIPS, (content_hash(record), flip))

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


def _by_slice(seen: tuple[Sequence[str], Observation]) -> Iterator[tuple[str, Observation]]:
    slices, observation = seen
    for slice_ in slices:
        yield slice_, observation


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


def _figures(entry: tuple[str, SliceStatistics], plan: Plan) -> SliceComparison:
    text, statistics = entry
    return compared(plan, slice_of(text), statistics)


class _WriteFlips(beam.PTransform):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, chosen: Any) -> Any:
        path = self._path
        return chosen | 'ToFile' >> beam.Map(
            lambda found: flips.write_flips([record for _, record in found], path)
        )
