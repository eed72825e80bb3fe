"""The fidelity that a file has to reach, without what measures it, which imports TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx_edge.components.core.post_training.float_group import LossyOperators

# In dB: noise power of 1/16 of the signal's. Files below it lose accuracy; no sound file was found there.
MIN_DB = 12.0


@dataclasses.dataclass(frozen=True)
class Bound:
    """The fidelity that a file has to reach, and what is done below it.

    Attributes:
      min_db: fidelity to the float model, of the output with the lowest.
      repair: where a file is below `min_db`, keep the operators float that lift it above.
      required: a file below `min_db` is an error.
      most_bytes: how much larger the file may become by the repair; None for any number.
    """

    min_db: float = MIN_DB
    repair: bool = True
    required: bool = False
    most_bytes: int | None = None

    def allows(self, lost: LossyOperators) -> bool:
        """Whether keeping these operators float reaches `min_db`, leaves others quantized, and fits `most_bytes`."""
        affordable = self.most_bytes is None or lost.bytes_more <= self.most_bytes
        return bool(lost.keep_float) and lost.quantizes and lost.db_after >= self.min_db and affordable
