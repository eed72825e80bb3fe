"""Non-inferiority of a share of right answers, on examples that two models have both answered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import NormalDist

from scipy import optimize, special

from tfx_edge.components.core.evaluation.statistics.paired_test import PairedTest

_NORMAL = NormalDist()


@dataclasses.dataclass
class PairedCounts:
    """How many examples each of two models answers right; integers add up to the same sum in any order.

    Attributes:
      both: right in both.
      baseline_only: right in the baseline alone.
      candidate_only: right in the candidate alone.
      neither: wrong in both.
    """

    both: int = 0
    baseline_only: int = 0
    candidate_only: int = 0
    neither: int = 0

    def add(self, candidate: float, baseline: float) -> None:
        """Counts an example; 1 is right, 0 is wrong."""
        if candidate:
            self.both += bool(baseline)
            self.candidate_only += not baseline
        else:
            self.baseline_only += bool(baseline)
            self.neither += not baseline

    def merge(self, other: PairedCounts) -> None:
        """Adds what another counted."""
        self.both += other.both
        self.baseline_only += other.baseline_only
        self.candidate_only += other.candidate_only
        self.neither += other.neither

    @property
    def examples(self) -> int:
        """All."""
        return self.both + self.baseline_only + self.candidate_only + self.neither


def score_test(counts: PairedCounts, margin: float, confidence: float) -> PairedTest:
    """Tango's score test and interval for the difference of two paired proportions.

    `drop` is the baseline's share of right answers less the candidate's. With `b` examples that the baseline
    alone answers right, `c` the candidate alone, of `n`, the statistic against a true drop `d` is
    `(b - c - n d) / sqrt(n (2 q + d (1 - d)))`, where `q` is the most likely share of the second kind if the
    drop is `d`, the larger root of a quadratic equation. After Tango, Equivalence test and confidence interval
    for the difference in proportions for the paired-sample design, Statistics in Medicine 17:891-908, 1998.

    Where the candidate alone is never right, the normal approximation is not exact enough for few examples: at a
    confidence of 95 %, it misses a true drop at the margin with a probability of up to 6.9 %. There the exact binomial
    bound (Clopper and Pearson, 1934) must hold too.

    Args:
      counts: of at least one example.
      margin: above 0, below 1: the drop that is too large.
      confidence: of each of the two one-sided bounds, such as 0.95.

    Returns:
      The test.

    Example:
      >>> test = score_test(PairedCounts(both=930, baseline_only=12, candidate_only=8, neither=50), 0.02, 0.95)
      >>> round(test.drop, 4), test.p_holds < 0.05
      (0.004, True)
    """
    lost, won, size = counts.baseline_only, counts.candidate_only, counts.examples
    statistic = _score(lost, won, size, margin)
    quantile = _NORMAL.inv_cdf(confidence)
    drop = (lost - won) / size

    def above_lower(true_drop: float) -> float:
        return _score(lost, won, size, true_drop) - quantile

    def below_upper(true_drop: float) -> float:
        by_score = _score(lost, won, size, true_drop) + quantile
        return by_score if won else max(by_score, _at_most(lost, size, true_drop) - (1 - confidence))

    return PairedTest(
        method='score test of paired proportions',
        examples=size,
        worse=lost,
        better=won,
        candidate=(counts.both + won) / size,
        baseline=(counts.both + lost) / size,
        drop=drop,
        lower=_root(above_lower, -1.0, drop),
        upper=_root(below_upper, drop, 1.0),
        p_holds=max(_NORMAL.cdf(statistic), 0.0 if won else _at_most(lost, size, margin)),
        p_fails=_NORMAL.cdf(-statistic),
    )


def _score(lost: int, won: int, size: int, drop: float) -> float:
    if drop < 0:
        return -_score(won, lost, size, -drop)
    linear = (2 * size - lost + won) * drop - (lost + won)
    root = math.sqrt(linear * linear + 8 * size * won * drop * (1 - drop))
    share = max(0.0, (root - linear) / (4 * size))
    variance = size * (2 * share + drop * (1 - drop))
    distance = lost - won - size * drop
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _at_most(count: int, size: int, share: float) -> float:
    """The probability of at most `count` of `size` independent examples, each with the probability `share`."""
    return float(special.bdtr(count, size, share))


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0; the end that is nearer to that where it does not."""
    if falling(low) <= 0:
        return low
    if falling(high) >= 0:
        return high
    # By signs alone: a score can be infinite.
    return float(optimize.bisect(falling, low, high, xtol=1e-15))
