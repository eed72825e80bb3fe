"""`report.json`: what an evaluation measured, and the verdict with its reasons."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.gates import Gate, Measurements
from tfx_edge.components.core.litert.inspect import ModelSummary

FORMAT_VERSION = 1
BLESSED, NOT_BLESSED = 'BLESSED', 'NOT_BLESSED'


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether the model may ship, and every reason why not."""

    blessed: bool
    reasons: tuple[str, ...]


def decide(validation: tfma.ValidationResult, gates: Sequence[Gate], *, has_thresholds: bool) -> Verdict:
    """Blesses a model only when every threshold of TFMA and every gate holds.

    Args:
      validation: TFMA's.
      gates: judged.
      has_thresholds: whether eval_config sets a threshold that could be checked; without one nothing is blessed.

    Returns:
      The verdict with the reasons of all that failed.
    """
    reasons = []
    if not has_thresholds:
        reasons.append(
            'eval_config sets no threshold that could be checked; a model is blessed only against one'
        )
    elif not validation.validation_ok:
        reasons += _threshold_reasons(validation) or ['a threshold of eval_config does not hold']
    reasons += [gate.reason for gate in gates if not gate.holds]
    return Verdict(not reasons, tuple(reasons))


def metrics_by_slice(evaluation_path: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """TFMA's scalar metrics.

    Args:
      evaluation_path: TFMA's output folder.
      names: what the report calls each ModelSpec's model ('candidate' or 'baseline').

    Returns:
      For each slice, in order of its name: `slice` (its features and values; [] for all examples) and
      `metrics`, each with `name`, `model`, `output` (of a model with several), `sub_key` (a class, or how
      classes were averaged), `difference` (whether it is candidate minus baseline), `value`, and `interval`
      where TFMA computed one.
    """
    slices = []
    for record in tfma.load_metrics(evaluation_path):
        if record.WhichOneof('slicing_spec_oneof') == 'cross_slice_key':
            continue
        metrics = [
            _metric(item, names)
            for item in record.metric_keys_and_values
            if item.value.WhichOneof('type') == 'double_value'
        ]
        metrics.sort(key=lambda m: (m['name'], m['output'], m['sub_key'], m['model'], m['difference']))
        slices.append({'slice': _slice(record.slice_key), 'metrics': metrics})
    return sorted(slices, key=lambda entry: json.dumps(entry['slice']))


def require_slices(config: tfma.EvalConfig, slices: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a slicing spec whose features are in no example; TFMA leaves it out without a word.

    Args:
      config: TFMA's configuration.
      slices: as `metrics_by_slice` returns them.

    Raises:
      EdgeError: no slice has the features of a spec.
    """
    found = {frozenset(column for column, _ in entry['slice']) for entry in slices}
    for spec in config.slicing_specs:
        wanted = frozenset([*spec.feature_keys, *spec.feature_values])
        if wanted not in found:
            raise EdgeError(
                f'no example has the features {", ".join(sorted(wanted))} that a SlicingSpec of eval_config names; '
                'correct the names.'
            )


def make_report(
    *,
    verdict: Verdict,
    gates: Sequence[Gate],
    measured: Measurements,
    summary: ModelSummary,
    metrics: Sequence[Mapping[str, Any]],
    models: Mapping[str, Mapping[str, str]],
    notes: Sequence[str],
    against_baseline: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The report as JSON values; every number that a verdict rests on is in it.

    Args:
      verdict: with its reasons.
      gates: judged.
      measured: what the gates rest on.
      summary: of the `.tflite` file.
      metrics: as `metrics_by_slice` returns them.
      models: 'candidate', and 'baseline' where there is one: `path` and `signature_name`.
      notes: what a reader should know, such as a threshold that was not checked.
      against_baseline: `comparison`, `non_inferiority` and `flips`, as `comparison_report` makes them.

    Returns:
      The report.
    """
    operators = len(summary.operators)
    float_ops = len(summary.float_ops)
    return {
        'format_version': FORMAT_VERSION,
        'verdict': BLESSED if verdict.blessed else NOT_BLESSED,
        'reasons': list(verdict.reasons),
        'notes': list(notes),
        'gates': [{**dataclasses.asdict(gate), 'measured': _number(gate.measured)} for gate in gates],
        'models': {name: dict(model) for name, model in models.items()},
        'examples': measured.examples,
        'agreement': measured.agreement,
        'metrics': list(metrics),
        **{name: dict(part) for name, part in against_baseline.items()},
        'file': {
            'file_bytes': measured.file_bytes,
            'zip_bytes': measured.zip_bytes,
            'activation_bytes': measured.activation_bytes,
            'operators': operators,
            'float_operators': list(measured.float_ops),
            'integer_share': (operators - float_ops) / operators if operators else 1.0,
            'inputs': dict(summary.inputs),
            'outputs': dict(summary.outputs),
            'kernel_zeros': summary.kernel_zeros,
            'kernel_max_distinct': summary.kernel_max_distinct,
        },
        'latency': None if measured.latency is None else dataclasses.asdict(measured.latency),
        'calibration_fit': {
            'not_judged': measured.fit.obstacle,
            'examples': measured.fit.examples,
            'tensors': len(measured.fit.tensors),
            'worst_tensors': [dataclasses.asdict(tensor) for tensor in measured.fit.worst],
        },
    }


def to_json(report: Mapping[str, Any]) -> str:
    """The text of `report.json`; strict JSON, which has no NaN."""
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + '\n'


def _metric(item: Any, names: Mapping[str, str]) -> dict[str, Any]:
    key = item.key
    metric = {
        'name': key.name,
        'model': names.get(key.model_name, key.model_name),
        'output': key.output_name,
        'sub_key': _sub_key(key),
        'difference': key.is_diff,
        'value': _number(item.value.double_value.value),
    }
    interval = item.confidence_interval
    if interval.HasField('lower_bound') and interval.HasField('upper_bound'):
        bounds = (interval.lower_bound, interval.upper_bound)
        metric['interval'] = [_number(bound.double_value.value) for bound in bounds]
    return metric


def _sub_key(key: Any) -> str:
    """The class or rank a metric is for, and how classes were averaged: 'class_id=3', 'macro_average', ''."""
    parts = [
        f'{field}={getattr(key.sub_key, field).value}'
        for field in ('class_id', 'k', 'top_k')
        if key.sub_key.HasField(field)
    ]
    return ' '.join([*parts, *filter(None, [key.aggregation_type.WhichOneof('type')])])


def _number(value: float | int | str | None) -> float | int | str | None:
    """JSON has no NaN and no infinity: their names stand for them."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _slice(slice_key: Any) -> list[list[Any]]:
    return [[single.column, _slice_value(single)] for single in slice_key.single_slice_keys]


def _slice_value(single: Any) -> Any:
    kind = single.WhichOneof('kind')
    value = getattr(single, kind) if kind else ''
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else _number(value)


def _threshold_reasons(validation: tfma.ValidationResult) -> list[str]:
    reasons = []
    for per_slice in validation.metric_validations_per_slice:
        name = _slice_name(per_slice)
        for failure in per_slice.failures:
            reasons.append(f'{_failure_reason(failure)} {name}')
    for missing in validation.missing_slices:
        features = [*missing.feature_keys, *(f'{k}={v}' for k, v in sorted(missing.feature_values.items()))]
        reasons.append(
            f'no example lies in the slice {", ".join(features) or "of all examples"}, which has a threshold'
        )
    if validation.missing_cross_slices:
        reasons.append('a pair of slices that has a threshold has no example')
    return sorted(set(reasons))


def _slice_name(per_slice: Any) -> str:
    if per_slice.HasField('cross_slice_key'):
        key = per_slice.cross_slice_key
        return f'between {_named(key.baseline_slice_key)} and {_named(key.comparison_slice_key)}'
    return f'on {_named(per_slice.slice_key)}'


def _named(slice_key: Any) -> str:
    return ', '.join(f'{column}={value}' for column, value in _slice(slice_key)) or 'all examples'


def _failure_reason(failure: Any) -> str:
    key = failure.metric_key
    name = ' of '.join(
        filter(None, [key.name, _sub_key(key), key.output_name and f'output {key.output_name}'])
    )
    if not failure.HasField('metric_value'):
        return f'{name}: {" ".join(failure.message.split()) or "not measured"}'
    value = failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if threshold.HasField('change_threshold'):
        change = threshold.change_threshold
        limits = [
            f'{kind} {getattr(change, kind).value:.12g}'
            for kind in ('absolute', 'relative')
            if change.HasField(kind)
        ]
        return f'{name}: change from the baseline {value:.12g}, limit {" and ".join(limits)}'
    bounds = threshold.value_threshold
    limits = [
        f'{word} {getattr(bounds, kind).value:.12g}'
        for kind, word in (('lower_bound', 'at least'), ('upper_bound', 'at most'))
        if bounds.HasField(kind)
    ]
    return f'{name}: {value:.12g}, limit {" and ".join(limits)}'
