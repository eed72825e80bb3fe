"""EdgeEvaluator's configuration, checked when the pipeline is constructed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.devices.limits import DeviceLimits, check_device_limits
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.gates.gate import Limit
from tfx_edge.components.core.evaluation.gates.limits import LIMITS
from tfx_edge.components.core.evaluation.gates.rules import Rules
from tfx_edge.components.core.evaluation.measurements.demands import Demands
from tfx_edge.components.core.evaluation.metrics.metric_drop import MetricDrop, check_drop
from tfx_edge.components.edge_evaluator import keys
from tfx_edge.components.tfx_interface import exec_properties

# They say how max_metric_drop is tested.
_RULES = ('confidence', 'min_slice_examples')
# What compares with a baseline, and may stay undecided.
_COMPARING = ('max_metric_drop', *(limit.field for limit in LIMITS if limit.against_baseline))


def demands(config: proto.EdgeEvaluation) -> Demands:
    """All that a message demands, but metrics that must not drop.

    Raises:
      EdgeError: a value is out of range, or says how something is tested that is not set.
    """
    return Demands(edge_limits(config), rules(config), device_limits(config), max_flips(config))


def edge_limits(config: proto.EdgeEvaluation) -> dict[str, float | None]:
    """The limits that a message sets, by their fields; None where one is not set, or switched off.

    Raises:
      EdgeError: a value is out of range.
    """
    return {limit.field: _value(config, limit) for limit in LIMITS}


def metric_drops(config: proto.EdgeEvaluation) -> tuple[MetricDrop, ...]:
    """The metrics that must not be worse than the baseline's, with their margins.

    Raises:
      EdgeError: a margin is out of range.
    """
    drops = tuple(MetricDrop(drop.metric, drop.margin) for drop in config.max_metric_drop)
    for drop in drops:
        check_drop(drop)
    return drops


def rules(config: proto.EdgeEvaluation) -> Rules:
    """How `max_metric_drop` is tested.

    Raises:
      EdgeError: a value is out of range, or set where there is no metric to test.
    """
    level = 'a level above 0.5, below 1'
    found = Rules(
        exec_properties.require(config, 'confidence', lambda v: 0.5 < v < 1, level),
        exec_properties.require(
            config, 'min_slice_examples', lambda v: v > 0, 'a number of examples above 0'
        ),
        config.bless_undecided,
    )
    for field in _RULES:
        if not config.max_metric_drop and _differs(config, field):
            raise EdgeError(
                f'EdgeEvaluation.{field} says how max_metric_drop is tested, which is not set; '
                'set both, or neither.'
            )
    if config.bless_undecided and not any(_differs(config, field) for field in _COMPARING):
        raise EdgeError(
            f'EdgeEvaluation.bless_undecided says what becomes of {", ".join(_COMPARING)}, of which none is set; '
            'set one, or leave bless_undecided out.'
        )
    return found


def device_limits(config: proto.EdgeEvaluation) -> tuple[DeviceLimits, ...]:
    """The devices whose tools are asked, with their limits.

    Raises:
      EdgeError: a device is not known or named twice, or its profile does not report what is limited.
    """
    found = tuple(
        DeviceLimits(
            device.name,
            {
                field.name.removeprefix('max_'): value
                for field, value in device.ListFields()
                if field.name != 'name'
            },
        )
        for device in config.devices
    )
    names = [limits.device for limits in found]
    for limits in found:
        try:
            check_device_limits(limits)
        except EdgeError as error:
            raise EdgeError(f'EdgeEvaluation.devices: {error}') from error
        if names.count(limits.device) > 1:
            raise EdgeError(
                f'EdgeEvaluation.devices names {limits.device!r} {names.count(limits.device)} times; name it once.'
            )
    return found


def max_flips(config: proto.EdgeEvaluation) -> int:
    """How many flips are listed at most; 0 where the list is switched off.

    Raises:
      EdgeError: it is below 0.
    """
    expected = 'a number of examples, where 0 switches the list off'
    return int(exec_properties.require(config, 'max_flips_listed', lambda v: v >= 0, expected))


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone; it leaves TFMA's configuration to TFMA.

    Args:
      properties: exec properties.
      inputs: keys of the inputs that have artifacts.

    Raises:
      EdgeError: names the field, and what was expected.
    """
    del inputs  # what compares with a baseline stays undecided without one
    config = exec_properties.decode(properties[keys.EDGE], proto.EdgeEvaluation)
    demands(config)
    metric_drops(config)


def check_edge(config: proto.EdgeEvaluation, *, has_baseline: bool) -> None:
    """Refuses values out of range, and what compares with a baseline where none is given."""
    demands(config)
    metric_drops(config)
    if has_baseline:
        return
    for field in (*_COMPARING, 'max_flips_listed'):
        if _differs(config, field) and getattr(config, field):
            raise EdgeError(f'EdgeEvaluation.{field} compares with a baseline; give baseline_model.')


def encode_splits(splits: Sequence[str] | None) -> str:
    """The splits to evaluate on as an exec property; TFX's own default is 'eval'."""
    names = ['eval'] if splits is None else splits
    if isinstance(names, str) or not names or not all(isinstance(name, str) and name for name in names):
        raise EdgeError(
            f'example_splits is {splits!r}; expected a list of names of splits, such as ["eval"].'
        )
    return json.dumps(list(names))


def decode_splits(text: str) -> list[str]:
    """The splits that `encode_splits` wrote."""
    return list(json.loads(text))


def _differs(config: proto.EdgeEvaluation, field: str) -> bool:
    """Whether a field has another value than its default."""
    return bool(getattr(config, field) != getattr(proto.EdgeEvaluation(), field))


def _value(config: proto.EdgeEvaluation, limit: Limit) -> float | None:
    if limit.off is None and not config.HasField(limit.field):
        return None
    value: float = exec_properties.require(config, limit.field, limit.is_possible, limit.expected)
    return None if value == limit.off else value
