"""TFMA's extractors and evaluators with the observers of a run, in few steps of Beam.

`tfma.ExtractEvaluateAndWriteResults` with a writer for each file takes a hundred steps more: each writer is ten. An
engine such as Flink starts every step on every slot, which takes longer than to evaluate a few hundred examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.evaluators.found_files import (
    WriteFound,
    writer_of_branch,
    writer_of_sum,
)
from tfx_edge.components.core.evaluation.evaluators.observation import AddUp
from tfx_edge.components.core.evaluation.evaluators.observer import Branch, Observer
from tfx_edge.components.core.evaluation.evaluators.predictions import STAGE_NAME
from tfx_edge.components.core.evaluation.evaluators.tfma_files import TfmaFiles


class Evaluate(beam.PTransform):
    """Evaluates batches of examples, and writes all that is found.

    Args:
      extractors: TFMA's.
      evaluators: TFMA's, which run after one of the extractors.
      files: TFMA's.
      observers: which see the same extracts.
      branches: likewise, behind the predictions.

    Raises:
      ValueError: an evaluator or observer runs after no extractor, or two things that are found have one name.
    """

    def __init__(
        self,
        extractors: Sequence[tfma.extractors.Extractor],
        evaluators: Sequence[tfma.evaluators.Evaluator],
        files: TfmaFiles,
        observers: Sequence[Observer],
        branches: Sequence[Branch],
    ) -> None:
        super().__init__()
        self._extractors = extractors
        self._evaluators = evaluators
        self._files = files
        self._observers = observers
        self._branches = branches
        self._sums = [added for observer in observers for added in observer.sums]
        stages = {extractor.stage_name for extractor in extractors}
        for runs in (*evaluators, *observers):
            if runs.run_after not in stages:
                raise ValueError(f'{runs} runs after {runs.run_after!r}; expected one of {sorted(stages)}.')
        names = [
            *files.writers(),
            *(added.name for added in self._sums),
            *(branch.name for branch in branches),
        ]
        if len({*names}) < len(names):
            raise ValueError(f'names of what is found must differ from each other: {", ".join(names)}.')

    def expand(self, batches: Any) -> Any:
        """Takes Arrow batches."""
        evaluation: dict[str, Any] = {}
        found = []
        extracts = batches | 'ToExtracts' >> tfma.BatchedInputsToExtracts()
        for extractor in self._extractors:
            stage = extractor.stage_name
            extracts = extracts | stage >> extractor.ptransform
            for evaluator in self._evaluators:
                if evaluator.run_after == stage:
                    evaluation |= extracts | evaluator.stage_name >> evaluator.ptransform
            observers = [observer for observer in self._observers if observer.run_after == stage]
            if observers:
                found.append(extracts | f'Observed_{stage}' >> AddUp(observers))
            if stage == STAGE_NAME:
                found += [self._found(extracts, branch) for branch in self._branches]
        found += self._files.found(evaluation)
        return tuple(found) | 'WriteFound' >> WriteFound(self._writers())

    def _found(self, extracts: Any, branch: Branch) -> Any:
        name = branch.name
        return (
            extracts | name >> branch.transform | f'Name_{name}' >> beam.Map(lambda value: (name, '', value))
        )

    def _writers(self) -> dict[str, Any]:
        return {
            **self._files.writers(),
            **{added.name: writer_of_sum(added) for added in self._sums},
            **{branch.name: writer_of_branch(branch) for branch in self._branches},
        }
