"""Fits metrics to a model's outputs: on scores beyond 0 to 1, they become a RankMetric or are refused."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators.observer import Observer, adding_up
from tfx_edge.components.core.evaluation.evaluators.output_limits import (
    Limits,
    OutputLimits,
    from_text,
    limits_of_batch,
    to_text,
    widest,
)
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.metrics.metric_classes import metric_settings
from tfx_edge.components.core.evaluation.metrics.rank_metric import RankMetric
from tfx_edge.components.core.evaluation.metrics.score_metrics import Need, ScoreMetric, score_metrics

_FILE = 'output_limits.json'

Shapes = Mapping[str, tuple[int | None, ...]]


def needs_limits(config: tfma.EvalConfig) -> bool:
    """Whether a metric needs scores or probabilities, so that it matters which values an output takes."""
    return any(metric.need is not Need.NUMBERS for metric in score_metrics(config))


def fit_metrics(config: tfma.EvalConfig, limits: Mapping[str, Limits], shapes: Shapes) -> tfma.EvalConfig:
    """The configuration with metrics that are right for these outputs.

    A rising function of the scores does not change metrics of the examples' order, such as AUC. For an output with one
    score for each example, these become a RankMetric, which takes scores of any size.

    Args:
      config: TFMA's, completed.
      limits: smallest and largest value of each output, by name ('' for the only one).
      shapes: of the outputs, by the same names.

    Returns:
      The configuration to compute with.

    Raises:
      EdgeError: a metric needs probabilities, and an output holds none.

    Example:
      >>> fit_metrics(config, {'': Limits(-4.1, 3.8)}, {'': (None, 1)}).metrics_specs[0].metrics[0].class_name
      'RankMetric'
    """
    fitted = config_pb2.EvalConfig()
    fitted.CopyFrom(config)
    for found in score_metrics(config):
        for output in found.outputs:
            reached = limits.get(output, Limits())
            if found.need is Need.NUMBERS or reached.may_be_probabilities:
                continue
            if found.need is not Need.RANK or _values(shapes.get(output, ())) != 1:
                raise _refusal(found, output, reached)
            _to_rank(fitted.metrics_specs[found.spec].metrics[found.metric])
    return fitted


def require_fit(config: tfma.EvalConfig, fitted: tfma.EvalConfig, reached: OutputLimits) -> None:
    """Refuses metrics that need probabilities and were computed on an output that holds none.

    Args:
      config: TFMA's, completed.
      fitted: the configuration that was computed with.
      reached: smallest and largest value of each output over all examples.

    Raises:
      EdgeError: names the metric and the output.
    """
    for found in score_metrics(config):
        metric = fitted.metrics_specs[found.spec].metrics[found.metric]
        if found.need is Need.NUMBERS or metric.class_name == RankMetric.__name__:
            continue
        for outputs in reached.values():
            for output in found.outputs:
                if not outputs.get(output, Limits()).may_be_probabilities:
                    raise _refusal(found, output, outputs[output])


class MetricsFit(Measurement):
    """Watches from where to where outputs reach: metrics were fitted to the first examples, and must fit all."""

    def observers(self) -> Sequence[Observer]:
        """Watches every output of every model."""
        models = [contender.name for contender in self.setting.evaluation.contenders]
        observe = functools.partial(limits_of_batch, models=models)
        return [adding_up('WatchLimits', self.path(_FILE), observe, widest, to_text)]

    def read(self) -> Finding:
        """Nothing to report.

        Raises:
          EdgeError: a metric took for probabilities what is none.
        """
        require_fit(self.setting.evaluation.config, self.setting.config, self.taken(_FILE, from_text))
        return Finding()


def _refusal(found: ScoreMetric, output: str, reached: Limits) -> EdgeError:
    place = f'output {output!r}' if output else 'the output'
    takes = (
        'compares with a threshold for probabilities'
        if found.need is Need.THRESHOLD
        else 'takes for probabilities'
    )
    setting = f', or {found.remedy}' if found.remedy else ''
    return EdgeError(
        f'metric {found.class_name!r} of eval_config {takes} {place} of the model, which reaches from '
        f'{reached.low:.6g} to {reached.high:.6g}; expected numbers from 0 to 1. '
        f'Put a sigmoid or softmax into the signature{setting}.'
    )


def _to_rank(metric: tfma.MetricConfig) -> None:
    if metric.class_name == RankMetric.__name__:
        return
    config = {'class_name': metric.class_name, 'settings': metric_settings(metric)}
    metric.class_name, metric.module = RankMetric.__name__, RankMetric.__module__
    metric.config = json.dumps(config)


def _values(shape: tuple[int | None, ...]) -> int | None:
    """How many values an output has in each example; None if that is open."""
    count = 1
    for size in shape[1:]:
        if size is None:
            return None
        count *= size
    return count
