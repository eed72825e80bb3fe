"""The cost of a file on a device that is not at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfx_edge.components.core.devices import ethos_u, tflite_micro
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.model_file import ModelFile

_PROFILES: Mapping[str, Callable[[ModelFile, str], DeviceCosts]] = {
    **dict.fromkeys(ethos_u.DEVICES, ethos_u.profile),
    tflite_micro.DEVICE: tflite_micro.profile,
}

DEVICES: tuple[str, ...] = tuple(_PROFILES)

# The figures that may have a limit: fields of DeviceCosts; of `cpu_operators`, the number.
FIGURES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ethos_u.DEVICES, ('cycles', 'sram_bytes', 'flash_bytes', 'cpu_operators')),
    tflite_micro.DEVICE: ('arena_bytes', 'flash_bytes'),
}


def profile(model: bytes | ModelFile, device: str) -> DeviceCosts:
    """Asks the tool of the device's maker, which is installed by an extra of tfx-edge.

    Args:
      model: a `.tflite` file.
      device: one of DEVICES.

    Returns:
      The figures; or why there are none, where the tool is not installed or cannot take the file.

    Raises:
      EdgeError: no such device, or the bytes are no valid `.tflite` file.

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
