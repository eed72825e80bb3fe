"""The limits that a file must keep on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfx_edge.components.core.devices.profile import FIGURES, check_device
from tfx_edge.components.core.errors import EdgeError


@dataclasses.dataclass(frozen=True)
class DeviceLimits:
    """The limits for one device.

    Attributes:
      device: its name.
      limits: the most that each figure (a field of DeviceCosts; `cpu_operators` by their number) may be.
    """

    device: str
    limits: Mapping[str, float]


def check_device_limits(limits: DeviceLimits) -> None:
    """Refuses a device that is not known, and a limit on what its profile does not report.

    Args:
      limits: of one device.

    Raises:
      EdgeError: one of them.

    Example:
      >>> check_device_limits(DeviceLimits('tflite-micro', {'arena_bytes': 4096}))
    """
    check_device(limits.device)
    known = FIGURES[limits.device]
    for figure, limit in limits.limits.items():
        if figure not in known:
            raise EdgeError(
                f'the profile of device {limits.device!r} reports no {figure}; '
                f'expected limits on: {", ".join(f"max_{name}" for name in known)}.'
            )
        if not limit >= 0:
            raise EdgeError(f'max_{figure} of device {limits.device!r} is {limit}; expected 0 or more.')
