"""Checks TFMA's EvalConfig for a `.tflite` candidate, and fills in TFMA's defaults."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.metric_classes import (
    check_settings,
    metric_class,
    metric_name,
)

_LOG = logging.getLogger(__name__)

# Metrics that read no prediction.
_WITHOUT_OUTPUT = ('ExampleCount', 'WeightedExampleCount', 'QueryStatistics')
# The artifact decides how a model is run; these types are accepted and change nothing.
_MODEL_TYPES = ('', tfma.TF_LITE, tfma.TF_GENERIC, tfma.TF_KERAS)


def check_eval_config(
    config: tfma.EvalConfig, *, has_baseline: bool, has_transform_graph: bool = False
) -> None:
    """Refuses a configuration that TFMA would refuse, or with fields that would have no effect.

    Args:
      config: the user's.
      has_baseline: whether there is a baseline model.
      has_transform_graph: whether there is a transform graph, which makes features in place of functions of the model.

    Raises:
      EdgeError: there is no metric, or one is unknown; a threshold is for a metric that is not computed; there are more
        than two models, or two of which none (or both) is the baseline; a field does not apply.
    """
    if not any(spec.metrics for spec in config.metrics_specs):
        raise EdgeError('eval_config has no metrics; name at least one in metrics_specs.')
    _check_metrics(config)
    _check_models(config, has_baseline)
    for spec in config.model_specs:
        _check_model_spec(spec, has_transform_graph)
    completed = complete_eval_config(config, has_baseline=has_baseline)
    try:
        tfma.utils.verify_eval_config(completed)
        # A user's own metric may be importable only where the step runs.
        with contextlib.suppress(ImportError):
            thresholds(completed)
    except (ValueError, TypeError) as error:
        raise EdgeError(f'TFMA refuses eval_config ({" ".join(str(error).split())}); correct it.') from error


def require_evaluated(config: tfma.EvalConfig, left_out: Mapping[str, str]) -> None:
    """Refuses metrics and labels of outputs that are not evaluated.

    Args:
      config: TFMA's configuration.
      left_out: why outputs are not evaluated, by name.

    Raises:
      EdgeError: names the output, why it is not, and the field.
    """
    fields = [
        ('metrics_specs.output_names', name) for spec in config.metrics_specs for name in spec.output_names
    ]
    for model in config.model_specs:
        fields += [('ModelSpec.label_keys', name) for name in model.label_keys]
    for field, name in fields:
        if name in left_out:
            raise EdgeError(
                f'{field} of eval_config names output {name!r}, which {left_out[name]}; expected an output of numbers '
                'with a row for each example: name another.'
            )


def thresholds(completed: tfma.EvalConfig) -> dict[Any, Any]:
    """TFMA's thresholds by metric of a completed configuration; makes the metrics, and so finds a wrong name."""
    return tfma.metrics.metric_thresholds_from_metrics_specs(completed.metrics_specs, eval_config=completed)


def check_needs_no_baseline(config: tfma.EvalConfig) -> None:
    """Refuses a configuration that compares with a baseline, for a pipeline that gives none."""
    if tfma.utils.has_change_threshold(config):
        raise EdgeError(
            'eval_config sets a change_threshold, which compares with a baseline; '
            'give baseline_model, or use value_threshold.'
        )
    if any(spec.is_baseline for spec in config.model_specs):
        raise EdgeError(
            'eval_config has a ModelSpec with is_baseline; give baseline_model, or remove the ModelSpec.'
        )


def complete_eval_config(config: tfma.EvalConfig, *, has_baseline: bool) -> tfma.EvalConfig:
    """The configuration with TFMA's defaults.

    A single unnamed ModelSpec becomes two, 'candidate' and 'baseline', where there is a baseline; where
    there is none, its ModelSpec and all change thresholds are taken out, as in TFX's Evaluator.
    """
    return tfma.utils.update_eval_config_with_defaults(config, has_baseline=has_baseline, rubber_stamp=True)


def without_model_functions(config: tfma.EvalConfig) -> tfma.EvalConfig:
    """The configuration without functions of a SavedModel; the transform graph stands for them, which is logged.

    Args:
      config: a completed one.
    """
    changed = config_pb2.EvalConfig()
    changed.CopyFrom(config)
    for spec in changed.model_specs:
        if spec.preprocessing_function_names:
            _LOG.info(
                'preprocessing_function_names (%s) of eval_config are not called: labels and slices are features that '
                'the transform graph makes, or of the examples',
                ', '.join(spec.preprocessing_function_names),
            )
        spec.ClearField('preprocessing_function_names')
    return changed


def candidate_spec(config: tfma.EvalConfig) -> tfma.ModelSpec:
    """The candidate's ModelSpec of a completed configuration."""
    (spec,) = tfma.utils.get_non_baseline_model_specs(config)
    return spec


def baseline_spec(config: tfma.EvalConfig) -> tfma.ModelSpec | None:
    """The baseline's ModelSpec of a completed configuration, or None."""
    return tfma.utils.get_baseline_model_spec(config)


def check_outputs(config: tfma.EvalConfig, outputs: Sequence[str]) -> None:
    """Refuses names of outputs that a model does not have, and metrics that do not name which of several they read.

    Args:
      config: TFMA's.
      outputs: names of the candidate's.

    Raises:
      EdgeError: names the field, and the outputs that there are.
    """
    found = ', '.join(repr(name) for name in outputs)
    named = [('ModelSpec.label_keys', name) for spec in config.model_specs for name in spec.label_keys]
    for number, spec in enumerate(config.metrics_specs):
        named += [(f'metrics_specs[{number}].output_names', name) for name in spec.output_names]
        reads = [m.class_name for m in spec.metrics if m.class_name not in _WITHOUT_OUTPUT]
        if len(outputs) > 1 and reads and not (spec.output_names or spec.output_weights):
            raise EdgeError(
                f'metrics_specs[{number}] of eval_config names no output for {reads[0]!r}, but the model has '
                f'{len(outputs)} ({found}); name those that the metrics read in output_names.'
            )
    for field, name in named:
        if name not in outputs:
            raise EdgeError(
                f'{field} of eval_config names the output {name!r}, which the model does not have (found: {found}); '
                'name one of these.'
            )


def with_only_output_unnamed(config: tfma.EvalConfig) -> tfma.EvalConfig:
    """The configuration for a model with one output, which TFMA's predictions have no name for.

    Args:
      config: TFMA's, which names no other output (`check_outputs`).
    """
    unnamed = config_pb2.EvalConfig()
    unnamed.CopyFrom(config)
    for metrics in unnamed.metrics_specs:
        metrics.ClearField('output_names')
    for model in unnamed.model_specs:
        for one, several in (('label_key', 'label_keys'), ('example_weight_key', 'example_weight_keys')):
            for name in getattr(model, several).values():
                setattr(model, one, name)
            model.ClearField(several)
    return unnamed


def named_features(config: tfma.EvalConfig) -> dict[str, str]:
    """The features that metrics need, each with the field that names it."""
    return {name: field for field, name in _named_features(config)}


def used_features(config: tfma.EvalConfig) -> tuple[str, ...]:
    """The features that metrics and slices read, sorted by name."""
    sliced = {key for spec in config.slicing_specs for key in (*spec.feature_keys, *spec.feature_values)}
    queried = {spec.query_key for spec in config.metrics_specs if spec.query_key}
    return tuple(sorted({*named_features(config), *sliced, *queried}))


def _named_features(config: tfma.EvalConfig) -> Iterator[tuple[str, str]]:
    for spec in config.model_specs:
        for field in ('label_key', 'example_weight_key'):
            if getattr(spec, field):
                yield f'ModelSpec.{field}', getattr(spec, field)
        for field in ('label_keys', 'example_weight_keys'):
            for name in getattr(spec, field).values():
                yield f'ModelSpec.{field}', name


def _check_metrics(config: tfma.EvalConfig) -> None:
    """Refuses metrics that do not exist, settings that they do not take, and thresholds for what is not computed."""
    for number, spec in enumerate(config.metrics_specs):
        if not spec.metrics and not _threshold_names(spec):
            raise EdgeError(
                f'metrics_specs[{number}] of eval_config has no metrics; name at least one, or remove it.'
            )
        classes = [(metric, metric_class(metric)) for metric in spec.metrics]
        for metric, cls in classes:
            if cls is not None:
                check_settings(metric, cls)
        names = {metric_name(metric, cls) for metric, cls in classes if cls is not None}
        all_known = all(cls is not None for _, cls in classes)
        for name in _threshold_names(spec):
            if all_known and name not in names:
                raise EdgeError(
                    f'metrics_specs[{number}] of eval_config has a threshold for {name!r}, which is none of its '
                    f'metrics ({", ".join(sorted(names)) or "it has none"}); name one of these, or set '
                    'MetricConfig.threshold of the metric itself.'
                )


def _threshold_names(spec: tfma.MetricsSpec) -> list[str]:
    return sorted({*spec.thresholds, *spec.per_slice_thresholds, *spec.cross_slice_thresholds})


def _check_models(config: tfma.EvalConfig, has_baseline: bool) -> None:
    specs = config.model_specs
    if len(specs) > 2:
        raise EdgeError(
            f'eval_config has {len(specs)} model_specs; expected at most a candidate and a baseline.'
        )
    baselines = sum(spec.is_baseline for spec in specs)
    if len(specs) == 2 and baselines != 1:
        raise EdgeError('eval_config has two model_specs; set is_baseline in exactly one of them.')
    if len(specs) == 1 and baselines:
        raise EdgeError('the only ModelSpec of eval_config is the baseline; add one for the candidate.')
    if has_baseline and len(specs) == 1 and specs[0].name:
        raise EdgeError(
            f'eval_config has the one ModelSpec {specs[0].name!r}, which leaves out the baseline; '
            'leave its name empty to evaluate both, or add a ModelSpec with is_baseline.'
        )


def _check_model_spec(spec: tfma.ModelSpec, has_transform_graph: bool) -> None:
    if spec.model_type not in _MODEL_TYPES:
        raise EdgeError(
            f'ModelSpec.model_type is {spec.model_type!r}; EdgeEvaluator runs .tflite files and '
            'SavedModels: leave it empty.'
        )
    if spec.preprocessing_function_names and not has_transform_graph:
        raise EdgeError(
            f'ModelSpec.preprocessing_function_names ({", ".join(spec.preprocessing_function_names)}) needs functions '
            'that a .tflite file does not have; give transform_graph, which then makes labels and slices, or leave '
            'the names out where these are features of the examples.'
        )
    if spec.inference_batch_size:
        raise EdgeError(
            'ModelSpec.inference_batch_size does not apply: .tflite files run in batches of at most 8; '
            'leave it unset.'
        )
