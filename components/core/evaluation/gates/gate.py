"""The limits a `.tflite` file must keep to ship, beside TFMA's thresholds on metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Limit:
    """A field of EdgeEvaluation that demands something.

    Attributes:
      field: its name.
      is_possible: whether a value is in range.
      expected: the range, in words.
      off: the value that switches it off, of a field that has a default; others demand nothing unless they are set.
      against_baseline: whether it compares with a baseline.
    """

    field: str
    is_possible: Callable[[Any], bool]
    expected: str
    off: float | None = None
    against_baseline: bool = False


@dataclasses.dataclass(frozen=True)
class Gate:
    """One limit, what was measured against it, and whether it holds; `detail` says more, or ''."""

    name: str
    measured: float | int | None
    limit: float | int
    holds: bool
    detail: str = ''

    @property
    def reason(self) -> str:
        """Why the gate refuses the model, in one line."""
        measured = 'not measured' if self.measured is None else f'{self.measured:.12g}'
        return f'{self.name}: {measured}, limit {self.limit:.12g}{self.detail and f" ({self.detail})"}'


def at_most(name: str, measured: float, limit: float | None, detail: str = '') -> tuple[Gate, ...]:
    """A gate that holds up to its limit, the limit included.

    Args:
      name: of the field that sets the limit.
      measured: what was measured.
      limit: None where nothing is demanded.
      detail: says more.

    Returns:
      The gate; none where nothing is demanded.

    Example:
      >>> [gate.holds for gate in at_most('max_file_bytes', 1000, 999)]
      [False]
    """
    return () if limit is None else (Gate(name, measured, limit, measured <= limit, detail),)
