"""Whether a candidate's outputs ever change: a model with one that is stuck is never blessed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from typing_extensions import TypedDict

from tfx_edge.components.core.evaluation.evaluators.observer import Observer, adding_up
from tfx_edge.components.core.evaluation.evaluators.predictions import outputs_of
from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.statistics.output_use import (
    OutputsUse,
    Rails,
    read_output_use,
    total_output_use,
    use_of_batch,
    write_output_use,
)

_FILE = 'output_use.json'


class OutputsChange(Measurement):
    """Watches the candidate's outputs, and whether those of a baseline change: none of them may be stuck."""

    def observers(self) -> Sequence[Observer]:
        """Watches every batch."""
        evaluation = self.setting.evaluation
        model = evaluation.candidate.model
        watch = functools.partial(
            _watch,
            candidate=evaluation.candidate.name,
            rails=model.as_predicted(model.rails),
            baseline=evaluation.baseline.name if evaluation.baseline else None,
            paired=evaluation.pairs,
        )
        return [adding_up('WatchOutputs', self.path(_FILE), watch, total_output_use, write_output_use)]

    def read(self) -> Finding:
        """What they did."""
        use = self.taken(_FILE, read_output_use)
        return Finding((change_gate(use),), {'outputs': outputs_part(use)})


def change_gate(use: OutputsUse) -> Gate:
    """The gate `outputs_change`, which a model with a stuck output never passes.

    Args:
      use: what the outputs did.

    Returns:
      The gate.
    """
    stuck = use.stuck
    names = ', '.join(map(repr, filter(None, stuck))) or 'the output'
    detail = f'{names} never changes over {use.count} examples that differ' if stuck else ''
    return Gate('outputs_change', len(stuck), 0, not stuck, detail)


class OutputRow(TypedDict):
    """What one output does over all examples.

    Attributes:
      output: its name; '' for the only one.
      values: how many there are.
      at_lowest: how many of them stand at the lowest that the output's integers can hold.
      at_highest: how many stand at the highest.
      changes: whether it is not the same for all examples.
    """

    output: str
    values: int
    at_lowest: int
    at_highest: int
    changes: bool


def outputs_part(use: OutputsUse) -> list[OutputRow]:
    """The part of `report.json` on outputs."""
    return [
        OutputRow(
            output=name,
            values=output.values,
            at_lowest=output.at_lowest,
            at_highest=output.at_highest,
            changes=output.rows.differs,
        )
        for name, output in use.outputs.items()
    ]


def _watch(
    extracts: Mapping[str, Any], candidate: str, rails: Rails, baseline: str | None, paired: Mapping[str, str]
) -> OutputsUse:
    theirs = outputs_of(extracts, baseline) if baseline is not None and paired else {}
    answers = {name: theirs[their_name] for name, their_name in paired.items()} if theirs else None
    return use_of_batch(list(extracts[tfma.INPUT_KEY]), outputs_of(extracts, candidate), rails, answers)
