"""Candidate against baseline, example by example and slice by slice, inside a TFMA run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import flips
from tfx_edge.components.core.evaluation.label_and_prediction import label_and_prediction
from tfx_edge.components.core.evaluation.paired_bootstrap import BootstrapSums, bootstrap_test
from tfx_edge.components.core.evaluation.paired_proportions import PairedCounts, score_test
from tfx_edge.components.core.evaluation.paired_test import PairedTest
from tfx_edge.components.core.evaluation.slice_statistics import Observation, SliceStatistics, TestKind
from tfx_edge.components.core.evaluation.tested_metrics import TestedMetric
from tfx_edge.components.core.evaluation.text_file import WriteTextFile
from tfx_edge.components.core.examples import content_hash

_SLICES, _FLIPS = 'edge_slices', 'edge_flips'

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
      is_share: of each of them, whether its values are 0 or 1.
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
        """Those of no example."""
        kinds = [
            TestKind(is_share, tested.metric.is_loss)
            for tested, is_share in zip(self.tested, self.is_share, strict=True)
        ]
        return SliceStatistics.none(len(self.outputs), kinds)


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """How far one output of the models is apart; None where it cannot be told."""

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
      agreement: share on which both answer the same; None where an answer cannot be told.
      labelled: how many have a label that tells which answer is right.
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


def ComparingEvaluator(plan: Plan) -> tfma.evaluators.Evaluator:
    """A TFMA evaluator that compares two models on the slices that TFMA makes, and on all examples."""
    return tfma.evaluators.Evaluator(
        stage_name='CompareWithBaseline',
        run_after=tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_CompareAll(plan),
    )


def ComparisonWriters(slices_path: str, flips_path: str) -> list[tfma.writers.Writer]:
    """TFMA writers for what ComparingEvaluator finds: JSON that `read_comparison` reads, and flips as TFRecords."""
    return [
        tfma.writers.Writer(
            stage_name='WriteComparison',
            ptransform=tfma.writers.Write(key=_SLICES, ptransform=WriteTextFile(slices_path, _sorted_json)),
        ),
        tfma.writers.Writer(
            stage_name='WriteFlips',
            ptransform=tfma.writers.Write(key=_FLIPS, ptransform=_WriteFlips(flips_path)),
        ),
    ]


def read_comparison(path: str) -> tuple[SliceComparison, ...]:
    """What a run found; all examples first, then the slices in order of their features."""
    with tf.io.gfile.GFile(path, 'r') as file:
        return tuple(_from_json(entry) for entry in json.loads(file.read()))


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
    """Yields an example's slices with what is seen of it, and flips with their content's hash, by tag."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._resampled = not all(plan.is_share)

    def process(self, extracts: dict[str, Any]) -> Iterator[Any]:
        plan = self._plan
        predictions = extracts[tfma.PREDICTIONS_KEY]
        candidate = _by_output(predictions[plan.candidate])
        baseline = _by_output(predictions[plan.baseline])
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
        seen = Observation(
            agrees=all(a.candidate == a.baseline is not None for a in answers) if plan.answers else None,
            labelled=any(a.label is not None for a in answers),
            worse=any(a.is_worse for a in answers),
            better=any(a.is_better for a in answers),
            outputs=tuple(outputs.values()),
            values=tuple(
                (
                    _value(tested, *pair(plan.candidate, tested.output_name)),
                    _value(tested, *pair(plan.baseline, tested.output_name)),
                )
                for tested in plan.tested
            ),
            content=content_hash(record) if self._resampled else b'',
        )
        slices = sorted({_slice_json(key) for key in extracts[tfma.SLICE_KEY_TYPES_KEY]} | {_slice_json(())})
        yield slices, seen
        if seen.worse and plan.max_flips:
            names = sorted(slice_name(_slice(text)) for text in slices)
            flip = flips.flip_example(record, answering, labels, names)
            yield beam.pvalue.TaggedOutput(_FLIPS, (content_hash(record), flip))


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


def _by_output(predictions: Any) -> Mapping[str, Any]:
    return predictions if isinstance(predictions, Mapping) else {'': predictions}


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


def _figures(entry: tuple[str, SliceStatistics], plan: Plan) -> dict[str, Any]:
    text, statistics = entry
    return dataclasses.asdict(compared(plan, _slice(text), statistics))


def _test(sums: PairedCounts | BootstrapSums, margin: float, confidence: float) -> PairedTest | None:
    if isinstance(sums, PairedCounts):
        return score_test(sums, margin, confidence) if sums.examples else None
    return bootstrap_test(sums, margin, confidence) if sums.examples > sums.unmeasured else None


def _sorted_json(slices: Sequence[Mapping[str, Any]]) -> str:
    in_order = sorted(slices, key=lambda entry: (len(entry['slice']), json.dumps(entry['slice'])))
    return json.dumps(in_order, allow_nan=False)


class _WriteFlips(beam.PTransform):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, chosen: Any) -> Any:
        path = self._path
        return chosen | 'ToFile' >> beam.Map(
            lambda found: flips.write_flips([record for _, record in found], path)
        )


def _slice_json(key: Iterable[tuple[str, Any]]) -> str:
    """A slice key of TFMA as text, which any runner can group by."""
    return json.dumps([[column, _plain(value)] for column, value in key])


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value


def _slice(text: str) -> Slice:
    return tuple((column, value) for column, value in json.loads(text))


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
