"""Which classes are taken for which, counted exactly inside a TFMA run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.contenders.evaluation_setup import Evaluation
from tfx_edge.components.core.evaluation.evaluators.flips import answer, class_of
from tfx_edge.components.core.evaluation.evaluators.label_and_prediction import label_and_prediction
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, Seen, Sum
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_text
from tfx_edge.components.core.evaluation.measurements.confusion_part import (
    BASELINE,
    CANDIDATE,
    Answer,
    confusion_part,
)
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.litert.file import metadata

_CONFUSION, _FILE = 'edge_confusion', 'confusion.json'


@dataclasses.dataclass(frozen=True)
class ConfusionPlan:
    """What is counted.

    Attributes:
      config: TFMA's configuration, completed.
      candidate: name of its ModelSpec; '' where it is alone.
      baseline: name of the baseline's; None where it is not counted.
      classes: how many each output of the candidate that has a label has; a single output under ''.
      baseline_outputs: the candidate's output names to the baseline's.
    """

    config: tfma.EvalConfig
    candidate: str
    baseline: str | None
    classes: Mapping[str, int]
    baseline_outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Confusion(Measurement):
    """Counts, by output and model, how often each class was answered for each label."""

    def observers(self) -> Sequence[Observer]:
        """Counts every example, where there are labels and classes."""
        plan, _ = self._plan
        if plan is None:
            return ()
        stage = tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME
        write = functools.partial(_write, path=self.path(_FILE))
        counted = Sum(_CONFUSION, beam.CombineFn.from_callable(sum), write)
        return [Observer(functools.partial(_answers, plan=plan), (counted,), run_after=stage)]

    def read(self) -> Finding:
        """The counts, with the names of classes where the file has them."""
        plan, obstacle = self._plan
        classes = plan.classes if plan else {}
        answers = self.taken(_FILE, read_confusion) if plan else ()
        names, notes = self._label_names(classes)
        return Finding(
            parts={'confusion': confusion_part(classes, answers, obstacle, names)}, notes=tuple(notes)
        )

    @functools.cached_property
    def _plan(self) -> tuple[ConfusionPlan | None, str]:
        return confusion_plan(self.setting.evaluation)

    def _label_names(self, classes: Mapping[str, int]) -> tuple[dict[str, Sequence[str]], list[str]]:
        """The names of an output's classes, where the file has them; and a note where they cannot be read."""
        try:
            found = metadata.read(self.setting.file)
        except EdgeError as error:
            return {}, [f'the names of the classes in the .tflite file cannot be read: {error}']
        if found is None or found.labels is None:
            return {}, []
        candidate = self.setting.evaluation.candidate.model
        outputs = candidate.as_predicted({name: name for name in candidate.outputs})
        return {
            name: found.labels
            for name, count in classes.items()
            if outputs[name] == found.labels_output and len(found.labels) == count
        }, []


def confusion_plan(evaluation: Evaluation) -> tuple[ConfusionPlan | None, str]:
    """What is counted, or None and why nothing is.

    Args:
      evaluation: what is run.

    Returns:
      The plan, and ''; or None, and why.
    """
    model = evaluation.candidate.model
    shapes = model.as_predicted(model.outputs)
    labelled = [name for name in shapes if evaluation.has_label(name)]
    if not labelled:
        return None, 'eval_config names no label'
    classes = {name: shapes[name][1] for name in labelled if len(shapes[name]) == 2}
    several = {name: count for name, count in classes.items() if count is not None and count > 1}
    if not several:
        return None, 'no output with a label has the shape (batch, classes) with two classes or more'
    baseline = evaluation.baseline.name if evaluation.baseline and evaluation.pairs else None
    return ConfusionPlan(
        evaluation.config, evaluation.candidate.name, baseline, several, evaluation.pairs
    ), ''


def read_confusion(text: str) -> tuple[Answer, ...]:
    """What a run counted, in order, of the text that it wrote."""
    return tuple(Answer(*entry) for entry in json.loads(text))


def _answers(extracts: dict[str, Any], plan: ConfusionPlan) -> Iterator[Seen]:
    """One text for each answer, which is counted by itself."""
    for output, classes in plan.classes.items():
        label, _ = label_and_prediction(extracts, plan.config, plan.candidate, output)
        right = class_of(label, classes)
        if right is None:
            continue
        yield _counted(CANDIDATE, output, right, outputs_of(extracts, plan.candidate)[output])
        if plan.baseline is not None:
            theirs = outputs_of(extracts, plan.baseline)[plan.baseline_outputs[output]]
            yield _counted(BASELINE, output, right, theirs)


def _counted(model: str, output: str, right: int, scores: np.ndarray) -> Seen:
    return _CONFUSION, json.dumps([model, output, right, answer(np.ravel(scores))]), 1


def _write(counts: Mapping[str, int], path: str) -> None:
    entries = [[*json.loads(text), examples] for text, examples in sorted(counts.items())]
    write_text(path, json.dumps(entries))
