"""Tests non-inferiority of a mean by a bootstrap whose draws depend on the examples' content, not on their order."""

from __future__ import annotations

import dataclasses
import functools
import math
from statistics import NormalDist

import numpy as np

from tfx_edge.components.core.evaluation.statistics.exact_sum import ExactSum, WeightedSums
from tfx_edge.components.core.evaluation.statistics.paired_test import PairedTest

REPLICATES = 1000
_NORMAL = NormalDist()
# The distribution function of a Poisson variable of mean 1, times 2**32.
_AT_MOST = np.floor(
    np.cumsum([math.exp(-1) / math.factorial(count) for count in range(13)]) * 2.0**32
).astype(np.uint64)


@functools.lru_cache(maxsize=64)
def poisson_weights(content: bytes) -> np.ndarray:
    """How often each replicate draws an example: Poisson variables of mean 1 that follow from its content.

    The bits are those of Philox, a counter-based generator, with the content's hash as its key. (Salmon et al.,
    Parallel random numbers: as easy as 1, 2, 3, SC 2011; the Poisson bootstrap: Chamandy et al., Estimating
    uncertainty for massive data streams, 2012.) Copies of an example have one content, so they are drawn together:
    they are no independent observations, and the intervals do not shrink by them.

    Args:
      content: the hash, 16 bytes or more.

    Returns:
      int64 (REPLICATES,), read-only.
    """
    key = np.frombuffer(content[:16], '<u8')
    bits = np.random.Philox(key=key).random_raw(REPLICATES // 2).astype('<u8').view('<u4')
    weights = np.searchsorted(_AT_MOST, bits.astype(np.uint64), side='right').astype(np.int64)
    weights.flags.writeable = False
    return weights


@dataclasses.dataclass
class BootstrapSums:
    """What a bootstrap needs to know of all examples; every sum is exact.

    Attributes:
      examples: how many.
      unmeasured: how many of them have no finite value in one of the models; they are in none of the sums.
      worse: on how many the candidate is worse than the baseline: their drop is above 0.
      better: on how many it is better: their drop is below 0.
      candidate: sum of its values.
      baseline: sum of its values.
      drops: sums of the drops' first, second and third powers.
      replicates: sum of the drops in each replicate.
      weights: number of draws in each replicate.
    """

    examples: int = 0
    unmeasured: int = 0
    worse: int = 0
    better: int = 0
    candidate: ExactSum = dataclasses.field(default_factory=ExactSum)
    baseline: ExactSum = dataclasses.field(default_factory=ExactSum)
    drops: tuple[ExactSum, ExactSum, ExactSum] = dataclasses.field(
        default_factory=lambda: (ExactSum(), ExactSum(), ExactSum())
    )
    replicates: WeightedSums = dataclasses.field(default_factory=WeightedSums)
    weights: WeightedSums = dataclasses.field(default_factory=WeightedSums)

    def add(self, candidate: float, baseline: float, drop: float, content: bytes) -> None:
        """Adds an example.

        Args:
          candidate: its value of the metric.
          baseline: the baseline's.
          drop: difference of both, above 0 where the candidate is worse.
          content: hash of what the example holds.
        """
        self.examples += 1
        powers = (drop, drop * drop, drop * drop * drop)
        if not all(map(math.isfinite, (candidate, baseline, *powers))):
            self.unmeasured += 1
            return
        self.worse += drop > 0
        self.better += drop < 0
        self.candidate.add(candidate)
        self.baseline.add(baseline)
        for sum_, power in zip(self.drops, powers, strict=True):
            sum_.add(power)
        weights = poisson_weights(content)
        self.replicates.add(drop, weights)
        self.weights.add(1.0, weights)

    def merge(self, other: BootstrapSums) -> None:
        """Adds what another summed up."""
        self.examples += other.examples
        self.unmeasured += other.unmeasured
        self.worse += other.worse
        self.better += other.better
        self.candidate.merge(other.candidate)
        self.baseline.merge(other.baseline)
        for sum_, more in zip(self.drops, other.drops, strict=True):
            sum_.merge(more)
        self.replicates.merge(other.replicates)
        self.weights.merge(other.weights)


def bootstrap_test(sums: BootstrapSums, margin: float, confidence: float) -> PairedTest:
    """The bias-corrected and accelerated percentile bootstrap of a mean difference.

    A plain percentile bound is too narrow on the side where few examples have large values: those are the examples
    that an optimized model breaks. After Efron, Better bootstrap confidence intervals, Journal of the American
    Statistical Association 82:171-185, 1987. p-values beyond what the replicates resolve are those of the normal
    distribution with the replicates' standard deviation.

    Args:
      sums: of at least one example that was measured.
      margin: the drop that is too large.
      confidence: of each of the two one-sided bounds, such as 0.95.

    Returns:
      The test.
    """
    count = sums.examples - sums.unmeasured
    first, second, third = (power.mean(count) for power in sums.drops)
    draws = np.rint(sums.weights.means(np.ones(REPLICATES, np.int64))).astype(np.int64)
    # A replicate that drew nothing has no mean; of 100 examples, one in 10**43.
    drawn = draws > 0
    replicates = np.sort(sums.replicates.means(np.maximum(draws, 1))[drawn])
    shape = _Shape.of(replicates, first, second, third, count)
    return PairedTest(
        method=f'paired bootstrap, {REPLICATES} replicates',
        examples=sums.examples,
        worse=sums.worse,
        better=sums.better,
        candidate=sums.candidate.mean(count),
        baseline=sums.baseline.mean(count),
        drop=first,
        lower=shape.bound(1 - confidence),
        upper=shape.bound(confidence),
        p_holds=shape.p_value(margin, below=True),
        p_fails=shape.p_value(margin, below=False),
    )


@dataclasses.dataclass(frozen=True)
class _Shape:
    """The replicates, sorted, with the corrections for their bias and for skewness."""

    replicates: np.ndarray
    mean: float
    bias: float
    acceleration: float

    @classmethod
    def of(cls, replicates: np.ndarray, first: float, second: float, third: float, count: int) -> _Shape:
        variance = max(0.0, second - first * first)
        skewed = third - 3 * first * second + 2 * first**3
        scale = 6 * math.sqrt(count) * variance**1.5
        # If the variance is at most 1e-8 of the mean square, the skewness is rounding error.
        acceleration = skewed / scale if scale > 0 and variance > 1e-8 * second else 0.0
        smaller = np.count_nonzero(replicates < first) + np.count_nonzero(replicates == first) / 2
        bias = _NORMAL.inv_cdf((smaller + 0.5) / (len(replicates) + 1))
        return cls(replicates, first, bias, acceleration)

    def bound(self, level: float) -> float:
        """The value below which the true mean lies with confidence `level`."""
        wanted = _NORMAL.inv_cdf(level) + self.bias
        factor = 1 - self.acceleration * wanted
        share = _NORMAL.cdf(self.bias + wanted / factor) if factor > 0 else float(wanted > 0)
        size = len(self.replicates)
        place = math.ceil(share * (size + 1)) if level > 0.5 else math.floor(share * (size + 1))
        return float(self.replicates[min(max(place, 1), size) - 1])

    def p_value(self, margin: float, *, below: bool) -> float:
        """How likely replicates this far below (or above) the margin are if the true mean lies on it."""
        size = len(self.replicates)
        within = np.count_nonzero(self.replicates < margin if below else self.replicates > margin)
        if within == size:
            spread = float(self.replicates.std())
            distance = (margin - self.mean) * (1 if below else -1)
            beyond = _NORMAL.cdf(-distance / spread) if spread > 0 else 0.0
            return min(beyond, 1 / (size + 1))
        if within == 0:
            return 1.0
        share = within / (size + 1)
        place = _NORMAL.inv_cdf(share if below else 1 - share) - self.bias
        factor = 1 + self.acceleration * place
        if factor <= 0:
            return 1.0
        level = place / factor - self.bias
        return _NORMAL.cdf(-level if below else level)
