"""The axes of a plot: where numbers lie on them, and which round numbers are written beside them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

# What lies beyond the outermost points, as a share of their distance.
_MARGIN = 0.08
# More than this between the least and the most, and an axis is logarithmic.
_LOG_RATIO = 8.0
# Below this share of the values their differences are no more than rounding.
_LEAST_SPREAD = Decimal('1e-6')
_SUFFIXES = (
    (Decimal(10) ** 12, 'T'),
    (Decimal(10) ** 9, 'G'),
    (Decimal(10) ** 6, 'M'),
    (Decimal(10) ** 3, 'k'),
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Numbers on an axis of a drawing.

    Attributes:
      low: at the axis's start; a logarithm to base 10 where `is_log`. Differences of floats may overflow, those of
        decimals do not.
      high: at its end.
      start: in units of the drawing.
      end: in the same; less than `start` on an axis that goes up.
      is_log: whether the axis is logarithmic.
    """

    low: Decimal
    high: Decimal
    start: float
    end: float
    is_log: bool

    def place(self, value: float | Decimal) -> float:
        """Where a value lies, in units of the drawing."""
        at = Decimal(value).log10() if self.is_log else Decimal(value)
        return self.start + (self.end - self.start) * float((at - self.low) / (self.high - self.low))


@dataclasses.dataclass(frozen=True)
class Tick:
    """A round number on an axis: where it lies, and its text."""

    place: float
    text: str


def scale_of(values: Sequence[float], start: float, end: float, *, may_be_log: bool = False) -> Scale:
    """An axis that holds the values, with a margin on both sides.

    Args:
      values: finite; at least one.
      start: of the axis, in units of the drawing.
      end: of the axis, in the same.
      may_be_log: whether it is logarithmic where the values differ much.

    Returns:
      The scale.

    Example:
      >>> scale_of([1000.0, 100000.0], 0, 300, may_be_log=True).is_log
      True
    """
    least, most = min(values), max(values)
    is_log = may_be_log and least > 0 and most / least > _LOG_RATIO
    low, high = (Decimal(value).log10() if is_log else Decimal(value) for value in (least, most))
    largest = max(abs(low), abs(high))
    # Values that are all the same are in the middle of their axis.
    spread = high - low if high - low > largest * _LEAST_SPREAD else largest or Decimal(1)
    margin = spread * Decimal(_MARGIN)
    return Scale(low - margin, high + margin, start, end, is_log)


def ticks(scale: Scale, room: Callable[[str], float]) -> list[Tick]:
    """As many round numbers on an axis as have room beside each other.

    Args:
      scale: of the axis.
      room: that a text needs along the axis, in units of the drawing.

    Returns:
      The ticks, from the least number to the most.

    Example:
      >>> zip_bytes = Scale(Decimal(9000), Decimal(31000), 0, 300, is_log=False)
      >>> [tick.text for tick in ticks(zip_bytes, lambda text: 60)]
      ['10k', '15k', '20k', '25k', '30k']
    """
    for numbers in _log_numbers(scale) if scale.is_log else _linear_numbers(scale):
        found = [Tick(scale.place(value), tick_text(value)) for value in numbers]
        pairs = itertools.pairwise(found)
        if all(abs(b.place - a.place) >= (room(a.text) + room(b.text)) / 2 for a, b in pairs):
            return found
    return []


def _linear_numbers(scale: Scale) -> Iterator[list[Decimal]]:
    """Multiples of 1, 2 and 5 times a power of ten between the ends of an axis, the finest first."""
    exponent = (scale.high - scale.low).adjusted() - 1
    while True:
        for digit in (1, 2, 5):
            step = Decimal(digit).scaleb(exponent)
            first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
            yield [step * number for number in range(first, last + 1)]
        exponent += 1


def _log_numbers(scale: Scale) -> Iterator[list[Decimal]]:
    """1, 2 and 5 times the powers of ten between the ends of an axis, then fewer of these powers."""
    first, last = math.floor(scale.low), math.floor(scale.high)
    for digits, every in [
        ((1, 2, 5), 1),
        ((1, 3), 1),
        *(((1,), every) for every in range(1, last - first + 2)),
    ]:
        yield [
            Decimal(digit).scaleb(exponent)
            for exponent in range(first, last + 1)
            if exponent % every == 0
            for digit in digits
            if scale.low <= exponent + Decimal(digit).log10() <= scale.high
        ]


def tick_text(value: Decimal) -> str:
    """A round number, short: with k, M, G or T for thousands and more.

    Args:
      value: exact, of few digits.

    Returns:
      All of its digits.

    Example:
      >>> tick_text(Decimal(20000)), tick_text(Decimal('0.95')), tick_text(Decimal('2E+20'))
      ('20k', '0.95', '2e+20')
    """
    if value and not -5 <= value.adjusted() < 15:
        return f'{value.normalize():e}'
    for size, suffix in _SUFFIXES:
        if abs(value) >= size:
            return f'{(value / size).normalize():f}{suffix}'
    # The multiples of a step have as many decimals as the step.
    return f'{value:f}'
