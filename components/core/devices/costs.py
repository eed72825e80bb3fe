"""The figures of a device profile."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DeviceCosts:
    """What one example costs on a device, as its tool reports; None where it does not.

    Attributes:
      device: name, as in `profile`.
      tool: package and version that reported, such as 'ethos-u-vela 5.2.0'; '' where none is installed.
      settings: what else the figures depend on, such as the clock, or this host's processor.
      cycles: estimated for what the accelerator runs; operators that fall back to the CPU are not included.
      milliseconds: the same at the clock of `settings`; in a browser, measured on this host.
      sram_bytes: of the accelerator, at the peak.
      dram_bytes: of the accelerator.
      flash_bytes: of the accelerator: its commands and encoded weights; on a microcontroller the file.
      arena_bytes: what the runtime on the CPU needs for one example.
      cpu_operators: those that the accelerator leaves to the CPU, each as its name and that of its output tensor.
      missing_operators: names of those that the device lacks, so that the file does not run there at all.
      absent: how to install the tool, in one line, where it is missing; '' where it is there.
      obstacle: why the tool reports no figures for this file, in one line; '' where it does.
    """

    device: str
    tool: str = ''
    settings: str = ''
    cycles: int | None = None
    milliseconds: float | None = None
    sram_bytes: int | None = None
    dram_bytes: int | None = None
    flash_bytes: int | None = None
    arena_bytes: int | None = None
    cpu_operators: tuple[str, ...] | None = None
    missing_operators: tuple[str, ...] = ()
    absent: str = ''
    obstacle: str = ''
