"""Loads an evaluation's models, and checks that they fit its configuration and each other before anything runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.contenders.output_pairs import (
    AnswerPairs,
    compare_outputs,
    pair_outputs,
)
from tfx_edge.components.core.evaluation.metrics import eval_config as configuration
from tfx_edge.components.core.evaluation.metrics.tested_metrics import (
    MetricDrop,
    TestedMetric,
    check_outputs,
    find_tested_metrics,
)
from tfx_edge.components.core.evaluation.model_files.first_run import require_runnable
from tfx_edge.components.core.evaluation.model_files.models import (
    Model,
    ModelSource,
    common_inputs,
    find_baseline,
    find_model,
    load_model,
    read_tflite,
)
from tfx_edge.components.core.signature import TensorSpec

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model in the run: the name of its ModelSpec ('' if it is alone), where it lies, and the model, loaded."""

    name: str
    source: ModelSource
    model: Model


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is run.

    Attributes:
      config: TFMA's configuration, completed.
      candidate: the `.tflite` file.
      baseline: what it is compared with, or None.
      answers: which outputs show whether both models answer the same.
      pairs: the candidate's output names to the baseline's, a single output under ''; empty where nothing is compared.
      obstacle: why nothing is compared, or ''.
      tested: metrics that must not be worse than the baseline's by their margins.
      notes: what a reader of the report should know.
    """

    config: tfma.EvalConfig
    candidate: Contender
    baseline: Contender | None
    answers: AnswerPairs
    pairs: Mapping[str, str]
    obstacle: str
    tested: tuple[TestedMetric, ...]
    notes: tuple[str, ...] = ()

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """The candidate, and the baseline where there is one."""
        return (self.candidate,) if self.baseline is None else (self.candidate, self.baseline)

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """What the models take, by input name.

        Raises:
          EdgeError: they take different things.
        """
        return common_inputs({c.name or 'candidate': c.model for c in self.contenders})

    def has_label(self, output: str) -> bool:
        """Whether the configuration names a label for an output of the candidate; '' is the only one."""
        spec = configuration.candidate_spec(self.config)
        return bool(spec.label_key) or output in spec.label_keys


def prepare(
    config: tfma.EvalConfig,
    candidate_folder: str,
    baseline_folder: str | None,
    *,
    drops: Sequence[MetricDrop] = (),
    transform_graph: str | None = None,
) -> Evaluation:
    """Loads the models, and checks that they fit the configuration and each other.

    Args:
      config: the user's.
      candidate_folder: the serving folder that holds the `.tflite` file.
      baseline_folder: the serving folder that holds a SavedModel or a `.tflite` file, or None.
      drops: metrics that must not be worse than the baseline's by a margin.
      transform_graph: folder of the transform graph that the Trainer was given, or None.

    Returns:
      The evaluation, ready to run.

    Raises:
      EdgeError: the candidate is no `.tflite` file or a damaged one, the models do not fit, or a metric cannot be
        tested.
    """
    config = configuration.without_model_functions(
        configuration.complete_eval_config(config, has_baseline=baseline_folder is not None)
    )
    candidate = _load_candidate(candidate_folder, configuration.candidate_spec(config))
    baseline, spec = None, configuration.baseline_spec(config)
    if baseline_folder is not None and spec is not None:
        baseline = _load_baseline(baseline_folder, spec, candidate.model, transform_graph)
    outputs = candidate.model.outputs
    notes = _left_out(config, [candidate] if baseline is None else [candidate, baseline])
    configuration.check_outputs(config, tuple(outputs))
    if len(outputs) == 1:
        config = configuration.with_only_output_unnamed(config)
    tested = find_tested_metrics(config, drops)
    check_outputs(tested, outputs)
    return Evaluation(config, candidate, baseline, *_pairs(candidate, baseline), tested, notes)


def _load_candidate(folder: str, spec: tfma.ModelSpec) -> Contender:
    source = find_model(folder, spec.signature_name)
    if not source.is_tflite:
        raise EdgeError(
            f'{folder} holds a SavedModel and no .tflite file; '
            'give the output of TFLiteQuantizer as model (and a SavedModel as baseline_model).'
        )
    return _load(spec.name, source)


def _load_baseline(
    folder: str, spec: tfma.ModelSpec, candidate: Model, transform_graph: str | None
) -> Contender:
    return _load(spec.name, find_baseline(folder, spec.signature_name, candidate, transform_graph))


def _load(name: str, source: ModelSource) -> Contender:
    if source.is_tflite:
        require_runnable(read_tflite(source.path))
    return Contender(name, source, load_model(source))


def _left_out(config: tfma.EvalConfig, contenders: Sequence[Contender]) -> tuple[str, ...]:
    """A note, which is logged too, for each output that is not evaluated; EdgeError if the configuration needs it."""
    left_out = {name: reason for c in contenders for name, reason in c.model.left_out.items()}
    configuration.require_evaluated(config, left_out)
    notes = tuple(f'output {name!r} {reason}: it is not evaluated' for name, reason in left_out.items())
    for note in notes:
        _LOG.warning('%s', note)
    return notes


def _pairs(candidate: Contender, baseline: Contender | None) -> tuple[AnswerPairs, dict[str, str], str]:
    """Which outputs have answers to compare, which have values to compare, and why none has, or ''."""
    if baseline is None:
        obstacle = 'there is no baseline'
        return AnswerPairs(candidate.name, None, {}, obstacle), {}, obstacle
    are_named = candidate.model.is_named, baseline.model.is_named
    answers = compare_outputs(
        candidate.name,
        candidate.model.outputs,
        baseline.name,
        baseline.model.outputs,
        asides=candidate.model.classes,
        are_named=are_named,
    )
    outputs = candidate.model.outputs, baseline.model.outputs
    return answers, *pair_outputs(*outputs, are_named=are_named)
