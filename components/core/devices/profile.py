"""The cost of a file on a device, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfx_edge.components.core.devices import ethos_u, tflite_micro, web
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.model_file import ModelFile

_PROFILES: Mapping[str, Callable[[ModelFile, str], DeviceCosts]] = {
    **dict.fromkeys(ethos_u.DEVICES, ethos_u.profile),
    tflite_micro.DEVICE: tflite_micro.profile,
    web.DEVICE: web.profile,
}

DEVICES: tuple[str, ...] = tuple(_PROFILES)

# The figures that may have a limit: fields of DeviceCosts; of `cpu_operators`, the number.
FIGURES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ethos_u.DEVICES, ('cycles', 'milliseconds', 'sram_bytes', 'flash_bytes', 'cpu_operators')
    ),
    tflite_micro.DEVICE: ('arena_bytes', 'flash_bytes'),
    web.DEVICE: ('milliseconds',),
}


def profile(model: bytes | ModelFile, device: str) -> DeviceCosts:
    """Asks the tool of the device's maker, or runs the file in a browser; README.md says how each is installed.

    Args:
      model: a `.tflite` file.
      device: one of DEVICES.

    Returns:
      The figures; or why there are none, where the tool is not installed or cannot take the file.

    Raises:
      EdgeError: no such device, or the bytes are no valid `.tflite` file.
      EnvironmentFailure: the tool was killed or took too long.

    Example:
      >>> profile(pathlib.Path('digits_int8.tflite').read_bytes(), 'ethos-u55-128').cycles
      12417
    """
    check_device(device)
    return _PROFILES[device](ModelFile.of(model), device)


def check_device(device: str) -> None:
    """Refuses a name that no profile has.

    Raises:
      EdgeError: no such device.
    """
    if device not in _PROFILES:
        raise EdgeError(f'device {device!r} is not known; expected one of: {", ".join(DEVICES)}.')
