"""What is asked for of the bits of weights, without what finds the weights, which imports TensorFlow."""

from __future__ import annotations

from typing import Protocol

# In place of bits: the weight stays float.
FLOAT = 0


class Precisions(Protocol):
    """Where weights are given their bits; `QATOptions` is one."""

    @property
    def include(self) -> tuple[str, ...]: ...
    @property
    def exclude(self) -> tuple[str, ...]: ...
    @property
    def weight_bits(self) -> int: ...
    @property
    def overrides(self) -> tuple[tuple[str, int], ...]: ...
