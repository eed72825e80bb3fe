"""The verdict on a model: TFMA's thresholds and every gate, with the reason of each that does not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.metrics.tfma_names import slice_features, sub_key


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
    return ', '.join(f'{column}={value}' for column, value in slice_features(slice_key)) or 'all examples'


def _failure_reason(failure: Any) -> str:
    key = failure.metric_key
    name = ' of '.join(
        filter(None, [key.name, sub_key(key), key.output_name and f'output {key.output_name}'])
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
