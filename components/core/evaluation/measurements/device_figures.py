"""The limits that a file must keep on devices that are not at hand."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from tfx_edge.components.core.devices import look_up_tables, tflite_micro
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.limits import DeviceLimits
from tfx_edge.components.core.devices.profile import profile
from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement

_LOG = logging.getLogger(__name__)


class DeviceFigures(Measurement):
    """What the tools of devices that are not here say of the file, and the limits on it."""

    def read(self) -> Finding:
        """Asks the tools."""
        demanded = self.setting.demands.devices
        costs = [self._cost(limits.device) for limits in demanded]
        return Finding(judge_devices(demanded, costs), {'devices': costs})

    def _cost(self, device: str) -> DeviceCosts:
        micro = self.setting.micro_file if device == tflite_micro.DEVICE else None
        cost = profile(micro or self.setting.file, device)
        if micro:
            settings = f'{cost.settings}, of {look_up_tables.FILE_NAME}'.removeprefix(', ')
            cost = dataclasses.replace(cost, settings=settings)
        if cost.absent or cost.obstacle:
            _LOG.warning('%s: %s', device, cost.absent or cost.obstacle)
        return cost


def judge_devices(demanded: Sequence[DeviceLimits], costs: Sequence[DeviceCosts]) -> tuple[Gate, ...]:
    """Holds every limit against what the device's tool reports; what it does not report fails.

    Args:
      demanded: of each device.
      costs: of the same devices, in the same order.

    Returns:
      The gates, named such as 'max_cycles on ethos-u55-128'.

    Example:
      >>> judge_devices([DeviceLimits('tflite-micro', {'arena_bytes': 4096})], [costs])[0].holds
      False
    """
    return tuple(
        _gate(cost, figure, limit)
        for wanted, cost in zip(demanded, costs, strict=True)
        for figure, limit in wanted.limits.items()
    )


def _gate(cost: DeviceCosts, figure: str, limit: int) -> Gate:
    name = f'max_{figure} on {cost.device}'
    found = getattr(cost, figure)
    if cost.absent or cost.obstacle or found is None:
        return Gate(name, None, limit, False, cost.absent or cost.obstacle or 'the tool does not report it')
    measured = len(found) if figure == 'cpu_operators' else found
    detail = f'left to the CPU: {", ".join(found)}' if figure == 'cpu_operators' and measured > limit else ''
    return Gate(name, measured, limit, measured <= limit, detail)
