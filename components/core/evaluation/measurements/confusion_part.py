"""The part of `report.json` that says which classes are taken for which."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from typing_extensions import TypedDict

CANDIDATE: Literal['candidate'] = 'candidate'
BASELINE: Literal['baseline'] = 'baseline'
# With more classes there is no table, only the list of the pairs that are confused most.
_MAX_TABLE = 32
_MAX_PAIRS = 50


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


class ConfusedPair(TypedDict):
    """A class that was answered for another one."""

    label: int
    answer: int
    examples: int


class ModelConfusion(TypedDict):
    """What one model takes for what.

    Attributes:
      model: 'candidate' or 'baseline'.
      table: a row of counts for each label, up to 32 classes; else None.
      without_answer: examples with NaN.
      most_confused: at most 50 pairs, most frequent first.
    """

    model: Literal['candidate', 'baseline']
    table: list[list[int]] | None
    without_answer: int
    most_confused: list[ConfusedPair]


class OutputConfusion(TypedDict):
    """Which classes are taken for which in one output.

    Attributes:
      output: its name; '' for the only one.
      classes: how many it has.
      names: of the classes; [] where the file has none.
      models: candidate and baseline.
    """

    output: str
    classes: int
    names: list[str]
    models: list[ModelConfusion]


class ConfusionPart(TypedDict):
    """Which classes are taken for which.

    Attributes:
      not_told: why that is not known, or ''.
      outputs: those that have a label and classes.
    """

    not_told: str
    outputs: list[OutputConfusion]


def confusion_part(
    classes: Mapping[str, int],
    answers: Sequence[Answer],
    obstacle: str,
    label_names: Mapping[str, Sequence[str]],
) -> ConfusionPart:
    """The part of `report.json` that says which classes are taken for which.

    Args:
      classes: how many each output has.
      answers: what was counted.
      obstacle: why nothing was, or ''.
      label_names: of the classes of an output, where the file names them.

    Returns:
      The part.
    """
    return ConfusionPart(
        not_told=obstacle,
        outputs=[
            OutputConfusion(
                output=output,
                classes=count,
                names=list(label_names.get(output, ())),
                models=_by_model([a for a in answers if a.output == output], count),
            )
            for output, count in sorted(classes.items())
            if any(a.output == output for a in answers)
        ],
    )


def _by_model(answers: Sequence[Answer], classes: int) -> list[ModelConfusion]:
    models: list[ModelConfusion] = []
    for model in (CANDIDATE, BASELINE):
        own = [a for a in answers if a.model == model]
        if own:
            given = [(a.label, a.answer, a.examples) for a in own if a.answer is not None]
            wrong = sorted((-examples, label, other) for label, other, examples in given if other != label)
            models.append(
                ModelConfusion(
                    model=model,
                    table=_table(given, classes) if classes <= _MAX_TABLE else None,
                    without_answer=sum(a.examples for a in own if a.answer is None),
                    most_confused=[
                        ConfusedPair(label=label, answer=other, examples=-examples)
                        for examples, label, other in wrong[:_MAX_PAIRS]
                    ],
                )
            )
    return models


def _table(given: Sequence[tuple[int, int, int]], classes: int) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for label, other, examples in given:
        table[label][other] += examples
    return table
