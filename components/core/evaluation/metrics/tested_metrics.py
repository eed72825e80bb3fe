"""The metrics of eval_config that `max_metric_drop` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.example_values import KINDS, ExampleMetric
from tfx_edge.components.core.evaluation.metrics.metric_classes import metric_settings
from tfx_edge.components.core.evaluation.metrics.metric_drop import SUPPORTED, MetricDrop, check_drop

# Settings of Keras that change nothing where they have one of these values.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    'name': (),
    'dtype': (None, 'float32'),
    'axis': (-1,),
    'ignore_class': (None,),
}


@dataclasses.dataclass(frozen=True)
class TestedMetric:
    """A metric of one output that must not be worse than the baseline's by the margin.

    Attributes:
      label: what the user called it.
      metric: how it is computed.
      margin: the drop that is too large.
      output_name: of a model with several outputs; '' for the only one.
    """

    __test__ = False  # for pytest: the name begins as a test's

    label: str
    metric: ExampleMetric
    margin: float
    output_name: str = ''

    @property
    def name(self) -> str:
        """How gates and errors name it."""
        return f'{self.label} of output {self.output_name}' if self.output_name else self.label


def find_tested_metrics(config: tfma.EvalConfig, drops: Sequence[MetricDrop]) -> tuple[TestedMetric, ...]:
    """Finds each metric in TFMA's configuration.

    Args:
      config: the user's, or the completed one.
      drops: what is demanded.

    Returns:
      One for each metric and output.

    Raises:
      EdgeError: a metric is not there, there more than once, or no mean over examples that could be tested; or
        examples have weights.
    """
    for spec in config.model_specs:
        if drops and (spec.example_weight_key or spec.example_weight_keys):
            raise EdgeError(
                'EdgeEvaluation.max_metric_drop counts every example once, but ModelSpec.example_weight_key of '
                'eval_config weights them; remove one of the two.'
            )
    found = []
    for drop in drops:
        check_drop(drop)
        spec, metric = _find(config, drop.metric)
        example_metric = _example_metric(drop.metric, spec, metric)
        if not example_metric.is_loss and drop.margin >= 1:
            raise EdgeError(
                f'EdgeEvaluation.max_metric_drop has the margin {drop.margin!r} for {drop.metric!r}, which no accuracy '
                'can drop by; expected a number above 0 and below 1.'
            )
        found += [
            TestedMetric(drop.metric, example_metric, drop.margin, name) for name in spec.output_names or ['']
        ]
    names = [tested.name for tested in found]
    for name in names:
        if names.count(name) > 1:
            raise EdgeError(f'EdgeEvaluation.max_metric_drop names {name!r} twice; leave one out.')
    return tuple(found)


def check_outputs(
    tested: Sequence[TestedMetric],
    outputs: Mapping[str, tuple[int | None, ...]],
) -> None:
    """Refuses outputs that have more than one dimension in each example.

    Args:
      tested: the metrics.
      outputs: the candidate's shapes by name; dimension 0 is the batch.

    Raises:
      EdgeError: names the output and its shape.
    """
    for metric in tested:
        for name, shape in outputs.items():
            if metric.output_name in ('', name) and len(shape) > 2:
                raise EdgeError(
                    f'EdgeEvaluation.max_metric_drop cannot test {metric.name!r} on output {name!r} of the shape '
                    f'{shape}; expected (batch, values): use a change_threshold of eval_config instead.'
                )


def _find(config: tfma.EvalConfig, wanted: str) -> tuple[Any, Any]:
    named = [
        (spec, metric)
        for spec, metric in _metrics(config)
        if wanted in (metric.class_name, metric_settings(metric).get('name'))
    ]
    if not named:
        there = sorted({metric.class_name for _, metric in _metrics(config)} & set(KINDS))
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop names {wanted!r}, which is no metric of eval_config; name one of its '
            f'metrics that can be tested ({", ".join(there) or "it has none"}), or add one of {SUPPORTED}.'
        )
    if len(named) > 1:
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop names {wanted!r}, and eval_config has {len(named)} such metrics; '
            'give the one you mean a name of its own in its config, and use that name.'
        )
    return named[0]


def _metrics(config: tfma.EvalConfig) -> Iterator[tuple[Any, Any]]:
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            yield spec, metric


def _example_metric(wanted: str, spec: Any, metric: Any) -> ExampleMetric:
    if metric.class_name not in KINDS or metric.module not in ('', 'keras.metrics', 'tf_keras.metrics'):
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop names {wanted!r}, which is no mean over examples that can be tested; '
            f'name one of {SUPPORTED}.'
        )
    for field in ('binarize', 'aggregate'):
        if spec.HasField(field):
            raise EdgeError(
                f'EdgeEvaluation.max_metric_drop names {wanted!r}, which is under MetricsSpec.{field} of eval_config; '
                'put it into a MetricsSpec without.'
            )
    if spec.query_key:
        raise EdgeError(
            f'EdgeEvaluation.max_metric_drop names {wanted!r}, which is under MetricsSpec.query_key of eval_config; '
            'put it into a MetricsSpec without.'
        )
    taken = KINDS[metric.class_name].settings
    settings = {}
    for key, value in metric_settings(metric).items():
        if key in taken:
            settings[key] = value
        elif key != 'name' and value not in _NEUTRAL.get(key, ()):
            raise EdgeError(
                f'EdgeEvaluation.max_metric_drop names {wanted!r}, whose config sets {key!r} to {value!r}, which '
                f'cannot be tested; it may set {", ".join(["name", *taken])}.'
            )
    return ExampleMetric(metric.class_name, settings)
