"""The limits that a file must keep on devices which are not here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.profile import FIGURES, check_device
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.gates import Gate


@dataclasses.dataclass(frozen=True)
class DeviceLimits:
    """What is demanded of a device.

    Attributes:
      device: its name.
      limits: the most that each figure (a field of DeviceCosts; `cpu_operators` by their number) may be.
    """

    device: str
    limits: Mapping[str, int]


def check_device_limits(limits: DeviceLimits) -> None:
    """Refuses a device that is not known, and a limit on what its profile does not tell.

    Raises:
      EdgeError: one of them.
    """
    check_device(limits.device)
    told = FIGURES[limits.device]
    for figure, limit in limits.limits.items():
        if figure not in told:
            raise EdgeError(
                f'the profile of device {limits.device!r} tells no {figure}; '
                f'expected limits on: {", ".join(f"max_{name}" for name in told)}.'
            )
        if limit < 0:
            raise EdgeError(f'max_{figure} of device {limits.device!r} is {limit}; expected 0 or more.')


def judge_devices(demanded: Sequence[DeviceLimits], costs: Sequence[DeviceCosts]) -> tuple[Gate, ...]:
    """Holds every limit against what the device's tool tells; what it does not tell fails.

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


def devices_part(costs: Sequence[DeviceCosts]) -> list[dict[str, Any]]:
    """The part of `report.json` on devices: the fields of DeviceCosts."""
    return [
        {
            **dataclasses.asdict(cost),
            'cpu_operators': None if cost.cpu_operators is None else list(cost.cpu_operators),
            'missing_operators': list(cost.missing_operators),
        }
        for cost in costs
    ]


def _gate(cost: DeviceCosts, figure: str, limit: int) -> Gate:
    name = f'max_{figure} on {cost.device}'
    found = getattr(cost, figure)
    if cost.absent or cost.obstacle or found is None:
        return Gate(name, None, limit, False, cost.absent or cost.obstacle or 'the tool does not tell it')
    measured = len(found) if figure == 'cpu_operators' else found
    detail = f'left to the CPU: {", ".join(found)}' if figure == 'cpu_operators' and measured > limit else ''
    return Gate(name, measured, limit, measured <= limit, detail)
