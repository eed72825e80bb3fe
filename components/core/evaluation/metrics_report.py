"""The part of `report.json` that holds TFMA's metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.tfma_names import number, slice_features, sub_key


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
        slices.append({'slice': slice_features(record.slice_key), 'metrics': metrics})
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


def _metric(item: Any, names: Mapping[str, str]) -> dict[str, Any]:
    key = item.key
    metric = {
        'name': key.name,
        'model': names.get(key.model_name, key.model_name),
        'output': key.output_name,
        'sub_key': sub_key(key),
        'difference': key.is_diff,
        'value': number(item.value.double_value.value),
    }
    interval = item.confidence_interval
    if interval.HasField('lower_bound') and interval.HasField('upper_bound'):
        bounds = (interval.lower_bound, interval.upper_bound)
        metric['interval'] = [number(bound.double_value.value) for bound in bounds]
    return metric
