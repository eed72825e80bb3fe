"""Sparsity: which weights are kept, and how many at each step."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class SparsitySchedule:
    """Sparsity as a function of the step (Zhu and Gupta, 2017, arXiv:1710.01878).

    From `begin_step` to `end_step` it rises from `initial` to `target` as
    `target + (initial - target) * (1 - t) ** power`, t going from 0 to 1; masks are made anew every
    `frequency` steps and, whatever the frequency, at `end_step`, so that the target is met.

    Attributes:
      initial: share of zeros at `begin_step`, 0 to below 1.
      target: share of zeros from `end_step` on.
      power: 3 prunes fast early, 1 evenly; 0 means the target from `begin_step` on (constant).
      begin_step: first step with a mask.
      end_step: step of the last change.
      frequency: steps between two changes.
    """

    initial: float
    target: float
    power: float
    begin_step: int
    end_step: int
    frequency: int

    def sparsity(self, step: int) -> float:
        """The share of zeros due at a step.

        Example:
          >>> SparsitySchedule(0.0, 0.8, 3.0, 0, 100, 10).sparsity(50)
          0.7
        """
        if step < self.begin_step:
            return 0.0
        if step >= self.end_step or self.power == 0:
            return self.target
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.target + (self.initial - self.target) * (1.0 - done) ** self.power

    def is_update(self, step: int) -> bool:
        """Whether the mask is to be made anew at a step."""
        if step < self.begin_step or step > self.end_step:
            return False
        return step == self.end_step or (step - self.begin_step) % self.frequency == 0


def magnitude_mask(weight: np.ndarray, sparsity: float) -> np.ndarray:
    """Keeps the weights of largest magnitude; exactly `round(sparsity * size)` are dropped.

    At least one weight is kept. Among equal magnitudes those of lower index are dropped first, so
    that ties do not change the count.

    Args:
      weight: of any shape.
      sparsity: share of zeros, 0 to below 1.

    Returns:
      A boolean array of the weight's shape; True is kept.

    Example:
      >>> magnitude_mask(np.array([3.0, -1.0, 0.5, 2.0]), 0.5)
      array([ True, False, False,  True])
    """
    magnitude = np.abs(weight).ravel()
    dropped = min(math.floor(sparsity * magnitude.size + 0.5), magnitude.size - 1)
    if dropped <= 0:
        return np.ones(weight.shape, bool)
    threshold = np.partition(magnitude, dropped - 1)[dropped - 1]
    keep = magnitude > threshold
    ties = np.flatnonzero(magnitude == threshold)
    below = magnitude.size - int(np.count_nonzero(keep)) - ties.size
    keep[ties[dropped - below :]] = True
    return keep.reshape(weight.shape)


def read_mask(weight: np.ndarray) -> np.ndarray | None:
    """The mask that a weight's zeros stand for, or None where there are no zeros."""
    keep = weight != 0
    return None if keep.all() else keep
