"""What is demanded of a candidate, without what measures it, which imports TensorFlow, Beam and TFMA."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfx_edge.components.core.devices.limits import DeviceLimits
from tfx_edge.components.core.evaluation.gates.rules import Rules


@dataclasses.dataclass(frozen=True)
class Demands:
    """What is demanded of a candidate beside TFMA's thresholds.

    Attributes:
      limits: by the field of EdgeEvaluation that sets it; None, or no entry, where nothing is demanded.
      rules: for tests against the baseline.
      devices: that are not here, whose tools are asked.
      max_flips: how many flips are listed at most; 0 where none are wanted.
    """

    limits: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    rules: Rules = dataclasses.field(default_factory=Rules)
    devices: tuple[DeviceLimits, ...] = ()
    max_flips: int = 0
