"""The part of `report.json` that holds TFMA's metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from typing_extensions import NotRequired, TypedDict

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.metrics.tfma_names import (
    Number,
    SliceFeatures,
    number,
    slice_features,
    sub_key,
)


class Metric(TypedDict):
    """One of TFMA's scalar metrics on one slice.

    Attributes:
      name: TFMA's.
      model: 'candidate' or 'baseline', or as the configuration names it.
      output: of a model with several.
      sub_key: a class, or how classes were averaged.
      difference: whether it is candidate minus baseline.
      value: of the metric.
      interval: its lower and upper bound, where TFMA computed them.
    """

    name: str
    model: str
    output: str
    sub_key: str
    difference: bool
    value: Number
    interval: NotRequired[tuple[Number, Number]]


class SliceMetrics(TypedDict):
    """TFMA's scalar metrics on one slice.

    Attributes:
      slice: its features and values; [] for all examples.
      metrics: in order of their names.
    """

    slice: SliceFeatures
    metrics: list[Metric]


def metrics_by_slice(evaluation_path: str, names: Mapping[str, str]) -> list[SliceMetrics]:
    """TFMA's scalar metrics.

    Args:
      evaluation_path: TFMA's output folder.
      names: what the report calls each ModelSpec's model ('candidate' or 'baseline').

    Returns:
      The metrics of each slice, in order of its name.
    """
    slices: list[SliceMetrics] = []
    for record in tfma.load_metrics(evaluation_path):
        if record.WhichOneof('slicing_spec_oneof') == 'cross_slice_key':
            continue
        metrics = [
            _metric(item, names)
            for item in record.metric_keys_and_values
            if item.value.WhichOneof('type') == 'double_value'
        ]
        metrics.sort(key=lambda m: (m['name'], m['output'], m['sub_key'], m['model'], m['difference']))
        slices.append(SliceMetrics(slice=slice_features(record.slice_key), metrics=metrics))
    return sorted(slices, key=lambda entry: json.dumps(entry['slice']))


def require_slices(config: tfma.EvalConfig, slices: Sequence[SliceMetrics]) -> None:
    """Refuses a slicing spec whose features are in no example; TFMA leaves it out without a message.

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


def _metric(item: Any, names: Mapping[str, str]) -> Metric:
    key = item.key
    metric = Metric(
        name=key.name,
        model=names.get(key.model_name, key.model_name),
        output=key.output_name,
        sub_key=sub_key(key),
        difference=key.is_diff,
        value=number(item.value.double_value.value),
    )
    interval = item.confidence_interval
    if interval.HasField('lower_bound') and interval.HasField('upper_bound'):
        low, high = interval.lower_bound, interval.upper_bound
        metric['interval'] = (number(low.double_value.value), number(high.double_value.value))
    return metric
