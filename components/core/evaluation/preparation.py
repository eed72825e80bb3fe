"""What an evaluation compares: models and configuration, checked against each other before anything runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation import agreement
from tfx_edge.components.core.evaluation import eval_config as configuration
from tfx_edge.components.core.evaluation.comparison import Plan
from tfx_edge.components.core.evaluation.confusion import ConfusionPlan
from tfx_edge.components.core.evaluation.models import (
    Model,
    ModelSource,
    common_inputs,
    find_baseline,
    find_model,
    load_model,
    read_tflite,
)
from tfx_edge.components.core.evaluation.tested_metrics import (
    MetricDrop,
    TestedMetric,
    check_outputs,
    find_tested_metrics,
)
from tfx_edge.components.core.evaluation.trial import require_runnable
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
      comparison: which outputs tell whether they agree.
      tested: metrics that must not be worse than the baseline's by their margins.
      plan: what is compared with the baseline, or None.
      obstacle: why nothing is compared, or ''.
      confusion: what tells which classes are taken for which, or None.
      no_confusion: why that is not told, or ''.
      notes: what a reader of the report should know.
    """

    config: tfma.EvalConfig
    candidate: Contender
    baseline: Contender | None
    comparison: agreement.Comparison
    tested: tuple[TestedMetric, ...]
    plan: Plan | None
    obstacle: str
    confusion: ConfusionPlan | None
    no_confusion: str
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


def prepare(
    config: tfma.EvalConfig,
    candidate_folder: str,
    baseline_folder: str | None,
    *,
    drops: Sequence[MetricDrop] = (),
    confidence: float = 0.95,
    max_flips: int = 0,
    transform_graph: str | None = None,
) -> Evaluation:
    """Loads the models, and checks that they fit the configuration and each other.

    Args:
      config: the user's.
      candidate_folder: the serving folder that holds the `.tflite` file.
      baseline_folder: the serving folder that holds a SavedModel or a `.tflite` file, or None.
      drops: metrics that must not be worse than the baseline's by a margin.
      confidence: of their tests.
      max_flips: how many flips are listed at most.
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
    spec = configuration.candidate_spec(config)
    source = find_model(candidate_folder, spec.signature_name)
    if not source.is_tflite:
        raise EdgeError(
            f'{candidate_folder} holds a SavedModel and no .tflite file; '
            'give the output of TFLiteQuantizer as model (and a SavedModel as baseline_model).'
        )
    require_runnable(read_tflite(source.path))
    candidate = Contender(spec.name, source, load_model(source))
    comparison = agreement.Comparison(candidate.name, None, {}, 'there is no baseline')
    baseline = None
    baseline_spec = configuration.baseline_spec(config)
    if baseline_folder is not None and baseline_spec is not None:
        source = find_baseline(
            baseline_folder, baseline_spec.signature_name, candidate.model, transform_graph
        )
        if source.is_tflite:
            require_runnable(read_tflite(source.path))
        baseline = Contender(baseline_spec.name, source, load_model(source))
        are_named = candidate.model.is_named, baseline.model.is_named
        comparison = agreement.compare_outputs(
            candidate.name,
            candidate.model.outputs,
            baseline.name,
            baseline.model.outputs,
            asides=candidate.model.classes,
            are_named=are_named,
        )
    contenders = [candidate] if baseline is None else [candidate, baseline]
    left_out = {name: reason for c in contenders for name, reason in c.model.left_out.items()}
    configuration.require_evaluated(config, left_out)
    configuration.check_outputs(config, tuple(candidate.model.outputs))
    if len(candidate.model.outputs) == 1:
        config = configuration.with_only_output_unnamed(config)
        spec = configuration.candidate_spec(config)
    notes = tuple(f'output {name!r} {reason}: it is not evaluated' for name, reason in left_out.items())
    for note in notes:
        _LOG.warning('%s', note)
    tested = find_tested_metrics(config, drops)
    check_outputs(tested, candidate.model.outputs)
    plan, obstacle = None, comparison.obstacle
    if baseline is not None:
        outputs, obstacle = agreement.pair_outputs(
            candidate.model.outputs, baseline.model.outputs, are_named=are_named
        )
        if not obstacle:
            plan = Plan(
                config,
                candidate.name,
                baseline.name,
                outputs,
                answers=comparison.baseline is not None,
                labelled=tuple(name for name in outputs if spec.label_key or name in spec.label_keys),
                tested=tested,
                is_share=tuple(t.metric.is_share(_values(candidate.model, t.output_name)) for t in tested),
                confidence=confidence,
                max_flips=max_flips,
                asides=tuple(name for name in outputs if name not in comparison.outputs),
            )
    confusion, no_confusion = _confusion(config, spec, candidate, baseline, plan)
    return Evaluation(
        config, candidate, baseline, comparison, tested, plan, obstacle, confusion, no_confusion, notes
    )


def _confusion(
    config: tfma.EvalConfig,
    spec: tfma.ModelSpec,
    candidate: Contender,
    baseline: Contender | None,
    plan: Plan | None,
) -> tuple[ConfusionPlan | None, str]:
    """What tells which classes are taken for which, or None and why not."""
    shapes = candidate.model.as_predicted(candidate.model.outputs)
    labelled = [name for name in shapes if spec.label_key or name in spec.label_keys]
    if not labelled:
        return None, 'eval_config names no label'
    classes = {name: shapes[name][1] for name in labelled if len(shapes[name]) == 2}
    several = {name: count for name, count in classes.items() if count is not None and count > 1}
    if not several:
        return None, 'no output with a label has the shape (batch, classes) with two classes or more'
    if baseline is None or plan is None:
        return ConfusionPlan(config, candidate.name, None, several), ''
    return ConfusionPlan(config, candidate.name, baseline.name, several, plan.outputs), ''


def _values(model: Model, output_name: str) -> int | None:
    """How many values an output has in each example; None if that is open."""
    shape = model.outputs.get(output_name) or next(iter(model.outputs.values()))
    return shape[1] if len(shape) > 1 else 1
