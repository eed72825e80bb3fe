"""Sums of doubles that are exact, so that no order of examples or workers changes a bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

_BITS = 32


@dataclasses.dataclass
class ExactSum:
    """The sum of any finite doubles.

    Attributes:
      digits: by position, where the digit at position `p` is worth `2**(32 * p)`. Digits are added without carry.

    Example:
      >>> total = ExactSum()
      >>> for value in (1e30, 0.1, -1e30):
      ...   total.add(value)
      >>> total.mean(1)
      0.1
    """

    digits: dict[int, int] = dataclasses.field(default_factory=dict)

    def add(self, value: float) -> None:
        """Adds a finite number."""
        for position, digit in _digits(value):
            self.digits[position] = self.digits.get(position, 0) + digit

    def merge(self, other: ExactSum) -> None:
        """Adds what another summed up."""
        for position, digit in other.digits.items():
            self.digits[position] = self.digits.get(position, 0) + digit

    def mean(self, count: int) -> float:
        """The double nearest to the sum divided by `count`."""
        return _quotient(self.digits, count)

    def value(self) -> Fraction:
        """The sum, without rounding."""
        return sum((digit * Fraction(2) ** (_BITS * p) for p, digit in self.digits.items()), Fraction(0))


@dataclasses.dataclass(eq=False)
class WeightedSums:
    """Several sums of the same finite doubles; each double has an integer weight in each sum.

    With weights up to 15, the sums are exact for 2**27 examples.

    Attributes:
      digits: as ExactSum's; int64 (sums,) each.
    """

    digits: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def add(self, value: float, weights: np.ndarray) -> None:
        """Adds `value * weights`.

        Args:
          value: finite.
          weights: integers (sums,).
        """
        for position, digit in _digits(value):
            product = weights * np.int64(digit)
            if position in self.digits:
                self.digits[position] += product
            else:
                self.digits[position] = product

    def merge(self, other: WeightedSums) -> None:
        """Adds what another summed up."""
        for position, digit in other.digits.items():
            self.digits[position] = self.digits[position] + digit if position in self.digits else digit.copy()

    def means(self, counts: np.ndarray) -> np.ndarray:
        """The doubles nearest to the sums divided by `counts`, integers (sums,) above 0; float64 (sums,)."""
        rows = {position: digit.tolist() for position, digit in self.digits.items()}
        return np.array(
            [
                _quotient({position: row[sum_] for position, row in rows.items()}, count)
                for sum_, count in enumerate(counts.tolist())
            ]
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightedSums):
            return NotImplemented
        return self.digits.keys() == other.digits.keys() and all(
            np.array_equal(digit, other.digits[position]) for position, digit in self.digits.items()
        )


def _digits(value: float) -> Iterator[tuple[int, int]]:
    """The nonzero digits of a double by position, each with the double's sign."""
    numerator, denominator = value.as_integer_ratio()
    position, shift = divmod(1 - denominator.bit_length(), _BITS)
    sign, rest = (-1, -numerator) if numerator < 0 else (1, numerator)
    rest <<= shift
    while rest:
        digit = rest & ((1 << _BITS) - 1)
        if digit:
            yield position, sign * digit
        rest >>= _BITS
        position += 1


def _quotient(digits: dict[int, int], count: int) -> float:
    if not digits:
        return 0.0
    lowest = min(digits)
    total = sum(digit << (_BITS * (position - lowest)) for position, digit in digits.items())
    # Python divides integers of any size to the nearest double.
    return (total << (_BITS * lowest)) / count if lowest >= 0 else total / (count << (-_BITS * lowest))
