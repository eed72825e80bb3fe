"""What a test of one metric on one slice finds, whatever its method."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A metric of two models on the same examples.

    Attributes:
      method: of the test.
      examples: how many.
      worse: on how many of them the candidate is worse than the baseline.
      better: on how many it is better.
      candidate: its metric.
      baseline: its metric.
      drop: how much worse the candidate is: a fall of an accuracy, a rise of a loss.
      lower: one-sided lower bound of the true drop at the confidence asked for.
      upper: one-sided upper bound.
      p_holds: the p-value against "the true drop is the margin or more"; small where the candidate is good enough.
      p_fails: the p-value against "the true drop is the margin or less"; small where it is not.
    """

    method: str
    examples: int
    worse: int
    better: int
    candidate: float
    baseline: float
    drop: float
    lower: float
    upper: float
    p_holds: float
    p_fails: float
