"""How a metric's drop is tested, and what becomes of a test that decides nothing."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a verdict follows from the tests.

    Attributes:
      confidence: of each test; where the true drop is the margin or more, the test holds with a probability of at
        most `1 - confidence`.
      min_slice_examples: fewer leave a test undecided.
      bless_undecided: whether a test that is undecided lets the model pass.
    """

    confidence: float = 0.95
    min_slice_examples: int = 100
    bless_undecided: bool = False
