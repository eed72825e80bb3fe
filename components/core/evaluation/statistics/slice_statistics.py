"""What an evaluation counts and sums up over the examples of one slice, to compare two models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from tfx_edge.components.core.evaluation.statistics.differences import Differences
from tfx_edge.components.core.evaluation.statistics.paired_bootstrap import BootstrapSums
from tfx_edge.components.core.evaluation.statistics.paired_proportions import PairedCounts


@dataclasses.dataclass(frozen=True)
class Observation:
    """What is recorded of one example.

    Attributes:
      agrees: whether both models answer the same; None where there is no top-1 answer.
      labelled: whether a label says which answer is right.
      worse: whether the baseline answers right and the candidate wrong.
      better: whether it is the other way round.
      outputs: the candidate's and the baseline's values of each output that is compared.
      values: the candidate's and the baseline's value of each metric that is tested.
      content: hash of what the example holds.
    """

    agrees: bool | None
    labelled: bool
    worse: bool
    better: bool
    outputs: tuple[tuple[np.ndarray, np.ndarray], ...]
    values: tuple[tuple[float, float], ...]
    content: bytes


@dataclasses.dataclass(frozen=True)
class TestKind:
    """How a metric is tested: whether its values are shares (0 or 1 each), and whether smaller ones are better."""

    __test__ = False

    is_share: bool
    is_loss: bool


@dataclasses.dataclass
class SliceStatistics:
    """Counts and exact sums; they merge to the same whatever the order.

    Attributes:
      tests: how each metric is tested.
      examples: all.
      agreeing: those on which both models answer the same.
      labelled: those with a label that says which answer is right.
      worse: those that the baseline answers right and the candidate wrong.
      better: those where it is the other way round.
      differences: of each output.
      sums: of each metric.
    """

    tests: tuple[TestKind, ...]
    examples: int
    agreeing: int
    labelled: int
    worse: int
    better: int
    differences: tuple[Differences, ...]
    sums: tuple[PairedCounts | BootstrapSums, ...]

    @classmethod
    def none(cls, outputs: int, tests: Sequence[TestKind]) -> SliceStatistics:
        """Statistics without any example.

        Args:
          outputs: how many are compared.
          tests: of the metrics.
        """
        sums = tuple(PairedCounts() if test.is_share else BootstrapSums() for test in tests)
        differences = tuple(Differences() for _ in range(outputs))
        return cls(tuple(tests), 0, 0, 0, 0, 0, differences, sums)

    def add(self, seen: Observation) -> None:
        """Adds an example."""
        self.examples += 1
        self.agreeing += bool(seen.agrees)
        self.labelled += seen.labelled
        self.worse += seen.worse
        self.better += seen.better
        for difference, (ours, theirs) in zip(self.differences, seen.outputs, strict=True):
            difference.add(ours, theirs)
        for test, sums, (mine, other) in zip(self.tests, self.sums, seen.values, strict=True):
            if isinstance(sums, PairedCounts):
                sums.add(mine, other)
            else:
                sums.add(mine, other, mine - other if test.is_loss else other - mine, seen.content)

    def merge(self, other: SliceStatistics) -> None:
        """Adds what another counted and summed up."""
        self.examples += other.examples
        self.agreeing += other.agreeing
        self.labelled += other.labelled
        self.worse += other.worse
        self.better += other.better
        for difference, more in zip(self.differences, other.differences, strict=True):
            difference.merge(more)
        for mine, theirs in zip(self.sums, other.sums, strict=True):
            mine.merge(cast(Any, theirs))  # of the same kind, as the metric is tested in the same way
