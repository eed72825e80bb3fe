"""Means by channel whose sums are exact, so that no order of examples or workers changes a bit."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

# A mean is cut into digits of 32 bits, the highest worth 2**96 (float32 ends at 2**128), the lowest 2**-96.
_WORTHS = np.exp2(np.arange(96.0, -97.0, -32.0))
_LOWEST = 96


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelSums:
    """The sum over examples of a tensor's mean in each channel.

    Attributes:
      examples: how many were added.
      digits: int64 (channels, 7): each sum is `digits @ 2**(96, 64, …, -96)`. Digits are added without carry,
        which is exact for 2**31 examples.

    Example:
      >>> (ChannelSums.of(np.ones((4, 2))) + ChannelSums.of(np.zeros((4, 2)))).means()
      array([0.5, 0.5])
    """

    examples: int
    digits: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> ChannelSums:
        """One example's means over all axes but the last.

        Args:
          values: float32 (..., channels). NaN and infinities count as 0; the tensor's statistics count them.

        Returns:
          Its means, rounded down to 2**-96.
        """
        channels = values.shape[-1] if values.ndim else 1
        if not values.size:
            return cls(0, np.zeros((channels, len(_WORTHS)), np.int64))
        rest = values.reshape(-1, channels).mean(axis=0, dtype=np.float64)
        rest[~np.isfinite(rest)] = 0.0
        digits = np.empty((channels, len(_WORTHS)), np.int64)
        for position, worth in enumerate(_WORTHS):
            # Exact: worths are powers of two, and what is left has fewer bits than before.
            whole = np.trunc(rest / worth)
            digits[:, position] = whole
            rest -= whole * worth
        return cls(1, digits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChannelSums):
            return NotImplemented
        return self.examples == other.examples and np.array_equal(self.digits, other.digits)

    def __add__(self, other: ChannelSums) -> ChannelSums:
        """The sum of both; associative and commutative to the last bit."""
        return ChannelSums(self.examples + other.examples, self.digits + other.digits)

    def means(self) -> np.ndarray:
        """The mean over examples, float64 (channels,), each the double nearest to the exact sum's quotient."""
        factors = [1 << (32 * power) for power in range(len(_WORTHS) - 1, -1, -1)]
        sums = [sum(int(d) * f for d, f in zip(row, factors, strict=True)) for row in self.digits]
        return np.array([float(Fraction(total, self.examples << _LOWEST)) for total in sums])
