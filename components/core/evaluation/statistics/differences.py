"""How far two models' outputs are apart: largest and mean difference, and divergence of probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfx_edge.components.core.evaluation.statistics.exact_sum import ExactSum

# Keras's, for logarithms of probabilities that are 0.
_EPSILON = 1e-7
# An int8 or uint8 output holds probabilities in steps of 1/256, each rounded.
_STEP = 1 / 256
_TOLERANCE = 0.01


@dataclasses.dataclass
class Differences:
    """Sums over examples for one output; all are exact, so they merge in any order.

    Attributes:
      examples: those for which all values of both models are finite; the others are in none of the sums.
      values: how many values they have together.
      largest: largest absolute difference.
      absolute: sum of the absolute differences.
      probabilities: examples for which both models answer probabilities.
      divergence: sum of their Kullback-Leibler divergences.
    """

    examples: int = 0
    values: int = 0
    largest: float = 0.0
    absolute: ExactSum = dataclasses.field(default_factory=ExactSum)
    probabilities: int = 0
    divergence: ExactSum = dataclasses.field(default_factory=ExactSum)

    def add(self, candidate: np.ndarray, baseline: np.ndarray) -> None:
        """Adds an example.

        Args:
          candidate: its output, of any shape.
          baseline: the baseline's, of the same size.
        """
        # Copies of one layout: sums then depend on nothing but the values.
        ours = np.array(candidate, np.float64).ravel()
        theirs = np.array(baseline, np.float64).ravel()
        if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            return
        apart = np.abs(ours - theirs)
        self.examples += 1
        self.values += apart.size
        self.largest = max(self.largest, float(apart.max(initial=0.0)))
        self.absolute.add(float(apart.sum()))
        if are_probabilities(ours) and are_probabilities(theirs):
            self.probabilities += 1
            self.divergence.add(divergence(theirs, ours))

    def merge(self, other: Differences) -> None:
        """Adds what another summed up."""
        self.examples += other.examples
        self.values += other.values
        self.largest = max(self.largest, other.largest)
        self.absolute.merge(other.absolute)
        self.probabilities += other.probabilities
        self.divergence.merge(other.divergence)

    @property
    def mean(self) -> float | None:
        """Mean absolute difference of all values; None without any."""
        return self.absolute.mean(self.values) if self.values else None

    @property
    def mean_divergence(self) -> float | None:
        """Mean divergence in nats; None unless all examples have probabilities in both models."""
        are_known = 0 < self.probabilities == self.examples
        return self.divergence.mean(self.examples) if are_known else None


def are_probabilities(values: np.ndarray) -> bool:
    """Whether values may be probabilities of two or more classes: 0 or more, with the sum 1 up to 8-bit rounding."""
    if values.size < 2 or values.min() < 0:
        return False
    rounding = min(values.size * _STEP / 2, 0.1)
    return bool(abs(values.sum() - 1) <= _TOLERANCE + rounding)


def divergence(of: np.ndarray, to: np.ndarray) -> float:
    """Kullback-Leibler divergence of one distribution to another, in nats.

    Probabilities below 1e-7, as an integer output rounds them to 0, count as 1e-7; both are scaled to the sum 1.

    Args:
      of: float64 (classes,).
      to: float64 (classes,).

    Returns:
      The divergence, 0 or more.

    Example:
      >>> round(divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)
      0.1438
    """
    of, to = np.maximum(of, _EPSILON), np.maximum(to, _EPSILON)
    of, to = of / of.sum(), to / to.sum()
    return max(0.0, float(np.sum(of * (np.log(of) - np.log(to)))))
