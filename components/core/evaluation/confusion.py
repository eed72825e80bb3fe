"""Which classes are taken for which, counted exactly inside a TFMA run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.flips import answer, class_of
from tfx_edge.components.core.evaluation.label_and_prediction import label_and_prediction
from tfx_edge.components.core.evaluation.text_file import WriteTextFile

CANDIDATE, BASELINE = 'candidate', 'baseline'
_CONFUSION = 'edge_confusion'
# Of more classes a table cannot be read; then the pairs that are confused most are listed.
_MAX_TABLE = 32
_MAX_PAIRS = 50


@dataclasses.dataclass(frozen=True)
class ConfusionPlan:
    """What is counted.

    Attributes:
      config: TFMA's configuration, completed.
      candidate: name of its ModelSpec; '' where it is alone.
      baseline: name of the baseline's; None where it is not counted.
      classes: how many each output of the candidate that has a label tells apart; a single output under ''.
      baseline_outputs: the candidate's output names to the baseline's.
    """

    config: tfma.EvalConfig
    candidate: str
    baseline: str | None
    classes: Mapping[str, int]
    baseline_outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Answer:
    """How many examples of a class got an answer.

    Attributes:
      model: 'candidate' or 'baseline'.
      output: '' for the only one.
      label: the right class.
      answer: the answered class; None for NaN.
      examples: how many.
    """

    model: str
    output: str
    label: int
    answer: int | None
    examples: int


def ConfusionEvaluator(plan: ConfusionPlan) -> tfma.evaluators.Evaluator:
    """A TFMA evaluator that counts, by output and model, how often each class was answered for each label."""
    return tfma.evaluators.Evaluator(
        stage_name='CountConfusion',
        run_after=tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_CountConfusion(plan),
    )


def ConfusionWriter(path: str) -> tfma.writers.Writer:
    """A TFMA writer for what ConfusionEvaluator counted; `read_confusion` reads it."""
    return tfma.writers.Writer(
        stage_name='WriteConfusion',
        ptransform=tfma.writers.Write(key=_CONFUSION, ptransform=WriteTextFile(path, _to_json)),
    )


def read_confusion(path: str) -> tuple[Answer, ...]:
    """What a run counted, in order."""
    with tf.io.gfile.GFile(path, 'r') as file:
        return tuple(Answer(*entry) for entry in json.loads(file.read()))


def confusion_part(
    classes: Mapping[str, int],
    answers: Sequence[Answer],
    obstacle: str,
    label_names: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The part of `report.json` that tells which classes are taken for which.

    Args:
      classes: how many each output tells apart.
      answers: what was counted.
      obstacle: why nothing was, or ''.
      label_names: of the classes of an output, where the file names them.

    Returns:
      `not_told` (why), and for each of the `outputs` its name (`output`), `classes`, `names` (of the classes; [] where
      the file has none) and for each model (`models`): `model`, `table` (a row of counts for each label, up to 32
      classes; else None), `without_answer` (NaN), and `most_confused`: `label`, `answer` and `examples` of at most 50
      pairs, most frequent first.
    """
    return {
        'not_told': obstacle,
        'outputs': [
            {
                'output': output,
                'classes': count,
                'names': list(label_names.get(output, ())),
                'models': _by_model([a for a in answers if a.output == output], count),
            }
            for output, count in sorted(classes.items())
            if any(a.output == output for a in answers)
        ],
    }


def _by_model(answers: Sequence[Answer], classes: int) -> list[dict[str, Any]]:
    models = []
    for model in (CANDIDATE, BASELINE):
        own = [a for a in answers if a.model == model]
        if own:
            told = [(a.label, a.answer, a.examples) for a in own if a.answer is not None]
            wrong = sorted((-examples, label, given) for label, given, examples in told if given != label)
            models.append(
                {
                    'model': model,
                    'table': _table(told, classes) if classes <= _MAX_TABLE else None,
                    'without_answer': sum(a.examples for a in own if a.answer is None),
                    'most_confused': [
                        {'label': label, 'answer': given, 'examples': -examples}
                        for examples, label, given in wrong[:_MAX_PAIRS]
                    ],
                }
            )
    return models


def _table(told: Sequence[tuple[int, int, int]], classes: int) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for label, given, examples in told:
        table[label][given] += examples
    return table


class _CountConfusion(beam.PTransform):
    def __init__(self, plan: ConfusionPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, extracts: Any) -> dict[str, Any]:
        return {
            _CONFUSION: extracts
            | 'Answers' >> beam.FlatMap(_answers, self._plan)
            | 'Count' >> beam.combiners.Count.PerElement()
            | 'All' >> beam.combiners.ToList()
        }


def _answers(extracts: dict[str, Any], plan: ConfusionPlan) -> Iterator[str]:
    """One text for each answer, which any runner can group by."""
    predictions = extracts[tfma.PREDICTIONS_KEY]
    for output, classes in plan.classes.items():
        label, _ = label_and_prediction(extracts, plan.config, plan.candidate, output)
        right = class_of(label, classes)
        if right is None:
            continue
        ours = predictions if plan.baseline is None else predictions[plan.candidate]
        yield _counted(CANDIDATE, output, right, ours, output)
        if plan.baseline is not None:
            yield _counted(BASELINE, output, right, predictions[plan.baseline], plan.baseline_outputs[output])


def _counted(model: str, output: str, right: int, predictions: Any, name: str) -> str:
    scores = predictions[name] if isinstance(predictions, Mapping) else predictions
    return json.dumps([model, output, right, answer(np.ravel(scores))])


def _to_json(counts: Sequence[tuple[str, int]]) -> str:
    return json.dumps([[*json.loads(text), examples] for text, examples in sorted(counts)])
