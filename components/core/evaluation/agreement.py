"""How often two models give the same answer, counted exactly inside a TFMA run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.predictions import STAGE_NAME
from tfx_edge.components.core.evaluation.text_file import WriteTextFile

_COUNTS = 'edge_counts'

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of examples; integers add up to the same sum in any order.

    Attributes:
      examples: all.
      agreeing: those for which every output of both models has its largest value in the same place.
      not_finite: those for which the candidate answers NaN or infinity.
    """

    examples: int = 0
    agreeing: int = 0
    not_finite: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.examples + other.examples,
            self.agreeing + other.agreeing,
            self.not_finite + other.not_finite,
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Which outputs are held against each other.

    Attributes:
      candidate: name of the candidate's ModelSpec; '' where it is alone.
      baseline: name of the baseline's; None where there is none, or nothing to compare.
      outputs: the candidate's output names to the baseline's; a single output under ''.
      obstacle: why top-1 agreement cannot be told, or ''.
    """

    candidate: str
    baseline: str | None
    outputs: Mapping[str, str]
    obstacle: str = ''


def compare_outputs(
    candidate: str,
    candidate_outputs: Mapping[str, Shape],
    baseline: str,
    baseline_outputs: Mapping[str, Shape],
    *,
    asides: Collection[str] = (),
    are_named: tuple[bool, bool] | None = None,
) -> Comparison:
    """Pairs the outputs of two models by name (a single one with a single one, whatever their names).

    Top-1 agreement means something where each output is one vector of at least two classes.

    Args:
      candidate: name of its ModelSpec.
      candidate_outputs: shapes by name, None for an open dimension; dimension 0 is the batch.
      baseline: name of its ModelSpec.
      baseline_outputs: as the candidate's.
      asides: outputs of the candidate that are no answers where another is one, such as a key.
      are_named: whether the predictions of candidate and baseline have the outputs' names; None where those with
        several outputs do.

    Returns:
      What to compare; nothing, and why, where top-1 agreement means nothing.
    """
    ours, theirs = candidate_outputs, baseline_outputs
    pairs, obstacle = _pairs(ours, theirs)
    if obstacle:
        return Comparison(candidate, None, {}, obstacle)
    answers = {name: other for name, other in pairs.items() if name not in asides} or pairs
    for name, other in answers.items():
        shape, other_shape = ours[name], theirs[other]
        if len(shape) != 2 or shape[1] == 1:
            obstacle = (
                f'output {name!r} has the shape {shape}, not (batch, classes) with two classes or more; '
                'leave min_agreement unset and bound the metric instead'
            )
            return Comparison(candidate, None, {}, obstacle)
        if len(other_shape) != 2 or (None not in (shape[1], other_shape[1]) and shape[1] != other_shape[1]):
            obstacle = f'output {name!r} has the shape {shape}, but {other_shape} in the baseline'
            return Comparison(candidate, None, {}, obstacle)
    return Comparison(candidate, baseline, _as_predicted(answers, are_named or (len(ours) > 1,) * 2))


def pair_outputs(
    candidate_outputs: Mapping[str, Shape],
    baseline_outputs: Mapping[str, Shape],
    *,
    are_named: tuple[bool, bool] | None = None,
) -> tuple[dict[str, str], str]:
    """Pairs the outputs whose values can be held against each other, whatever they mean.

    Args:
      candidate_outputs: shapes by name, None for an open dimension; dimension 0 is the batch.
      baseline_outputs: as the candidate's.
      are_named: as for `compare_outputs`.

    Returns:
      The candidate's output names to the baseline's, a single output under '', and ''. Or nothing, and why.

    Example:
      >>> pair_outputs({'output_0': (None, 10)}, {'probabilities': (None, 10)})
      ({'': ''}, '')
    """
    pairs, obstacle = _pairs(candidate_outputs, baseline_outputs)
    for name, other in pairs.items():
        shape, other_shape = candidate_outputs[name], baseline_outputs[other]
        fits = len(shape) == len(other_shape) and all(
            None in (size, other_size) or size == other_size
            for size, other_size in zip(shape[1:], other_shape[1:], strict=True)
        )
        if not fits:
            return {}, f'output {name!r} has the shape {shape}, but {other_shape} in the baseline'
    return _as_predicted(pairs, are_named or (len(candidate_outputs) > 1,) * 2), obstacle


def _pairs(ours: Mapping[str, Shape], theirs: Mapping[str, Shape]) -> tuple[dict[str, str], str]:
    single = len(ours) == len(theirs) == 1
    pairs = dict(zip(ours, theirs, strict=True)) if single else {name: name for name in ours}
    if set(pairs.values()) != set(theirs):
        return {}, f'the candidate has the outputs {sorted(ours)}, the baseline {sorted(theirs)}'
    return pairs, ''


def _as_predicted(pairs: dict[str, str], are_named: tuple[bool, bool]) -> dict[str, str]:
    """TFMA has a model's only output without its name."""
    return {ours if are_named[0] else '': theirs if are_named[1] else '' for ours, theirs in pairs.items()}


def CountingEvaluator(comparison: Comparison) -> tfma.evaluators.Evaluator:
    """A TFMA evaluator that counts examples, agreement and answers that are no finite numbers."""
    return tfma.evaluators.Evaluator(
        stage_name='CountAgreement',
        run_after=STAGE_NAME,
        ptransform=_CountAll(comparison),
    )


def CountsWriter(path: str) -> tfma.writers.Writer:
    """A TFMA writer for what CountingEvaluator counted; `read_counts` reads it."""
    return tfma.writers.Writer(
        stage_name='WriteCounts',
        ptransform=tfma.writers.Write(key=_COUNTS, ptransform=WriteTextFile(path, _as_text)),
    )


def read_counts(path: str) -> Counts:
    """What a run counted."""
    with tf.io.gfile.GFile(path, 'r') as file:
        return Counts(**json.loads(file.read()))


def count(comparison: Comparison, predictions: Any) -> Counts:
    """Counts one batch.

    Args:
      comparison: what to compare.
      predictions: TFMA's; by model name where there are two.

    Returns:
      The counts. An output with NaN agrees with nothing; of equal values the first counts as the largest.

    Example:
      >>> count(Comparison('', None, {}), np.array([[0.1, 0.9], [np.nan, 0.0]]))
      Counts(examples=2, agreeing=0, not_finite=1)
    """
    candidate = _by_output(predictions[comparison.candidate] if comparison.candidate else predictions)
    size = len(next(iter(candidate.values())))
    finite = np.ones(size, bool)
    for values in candidate.values():
        finite &= np.isfinite(values).reshape(size, -1).all(axis=1)
    agreeing = np.zeros(size, bool)
    if comparison.baseline is not None:
        baseline = _by_output(predictions[comparison.baseline])
        agreeing = np.ones(size, bool)
        for ours, theirs in comparison.outputs.items():
            agreeing &= _same_top(candidate[ours], baseline[theirs])
    return Counts(size, int(agreeing.sum()), int((~finite).sum()))


def _same_top(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    told = ~(np.isnan(ours).any(axis=1) | np.isnan(theirs).any(axis=1))
    return told & (np.argmax(ours, axis=1) == np.argmax(theirs, axis=1))


def _by_output(predictions: Any) -> Mapping[str, np.ndarray]:
    return predictions if isinstance(predictions, Mapping) else {'': predictions}


class _CountAll(beam.PTransform):
    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison

    def expand(self, extracts: Any) -> dict[str, Any]:
        comparison = self._comparison
        return {
            _COUNTS: extracts
            | 'Count' >> beam.Map(lambda batch: count(comparison, batch[tfma.PREDICTIONS_KEY]))
            | 'Sum' >> beam.CombineGlobally(_total)
        }


def _as_text(counts: Counts) -> str:
    return json.dumps(dataclasses.asdict(counts))


def _total(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())
