"""Sparsity: how many weights are zero at each step, and which ones are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

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
          >>> round(SparsitySchedule(0.0, 0.8, 3.0, 0, 100, 10).sparsity(50), 4)
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


def mask(score: np.ndarray, sparsity: float) -> np.ndarray:
    """Keeps the weights of largest score; exactly `round(sparsity * size)` are dropped, halves rounded up.

    At least one weight is kept. Among equal scores those of lower index are dropped first, so that
    ties do not change the count.

    Args:
      score: importance of each weight (its magnitude, for magnitude pruning), floating, of any shape.
      sparsity: share of zeros, 0 to below 1.

    Returns:
      A boolean array of the score's shape; True is kept.

    Example:
      >>> mask(np.abs([3.0, -1.0, 0.5, 2.0]), 0.5)
      array([ True, False, False,  True])
    """
    return masks([score], sparsity)[0]


def masks(
    scores: Sequence[np.ndarray], sparsity: float, sizes: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Masks of several arrays that are ranked together, by one threshold over all their scores.

    Dropped are the lowest scores, among equal ones those of an earlier array and of a lower index first, so
    many that the number of weights dropped is as near to `sparsity` times the number of weights as it can be
    (of two counts as near, the greater). At least one score of each array is kept: its largest, of equal
    ones the last.

    Args:
      scores: floating arrays of any shapes, none of them empty.
      sparsity: share of zeros over all of them, 0 to below 1.
      sizes: how many weights each score stands for, arrays of the scores' shapes; None means one weight each.

    Returns:
      Boolean arrays of the scores' shapes; True is kept.

    Example:
      >>> masks([np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0, 6.0])], 0.5)
      [array([False,  True]), array([False, False,  True,  True])]
    """
    flat = scores[0].ravel() if len(scores) == 1 else np.concatenate([score.ravel() for score in scores])
    most = flat.size - len(scores)
    if len(scores) > 1:
        flat[_last_largest(scores)] = np.inf
    if sizes is None:
        keep = _keep(flat, min(math.floor(sparsity * flat.size + 0.5), most))
    else:
        keep = _keep_nearest(flat, np.concatenate([size.ravel() for size in sizes]), sparsity, most)
    ends = np.cumsum([score.size for score in scores])[:-1]
    return [part.reshape(score.shape) for part, score in zip(np.split(keep, ends), scores, strict=True)]


def _keep(scores: np.ndarray, dropped: int) -> np.ndarray:
    """Drops exactly `dropped` of the lowest scores, the first among equal ones."""
    if dropped <= 0:
        return np.ones(scores.shape, bool)
    threshold = np.partition(scores, dropped - 1)[dropped - 1]
    keep = scores > threshold
    ties = np.flatnonzero(scores == threshold)
    below = scores.size - int(np.count_nonzero(keep)) - ties.size
    keep[ties[dropped - below :]] = True
    return keep


def _keep_nearest(scores: np.ndarray, sizes: np.ndarray, sparsity: float, most: int) -> np.ndarray:
    """Drops at most `most` of the lowest scores, so many that their sizes come nearest to `sparsity` of all."""
    target = sparsity * int(sizes.sum())
    largest = int(sizes.max())
    missing = largest * sizes.size - int(sizes.sum())
    # k scores stand for k * largest - missing weights at least, and for k * largest at most.
    low = min(math.floor(target / largest), most)
    high = min(math.ceil((target + missing) / largest), most)
    keep = _keep(scores, low)
    between = np.flatnonzero(keep & ~_keep(scores, high))
    between = between[np.argsort(scores[between], kind='stable')]
    zeros = int(sizes[~keep].sum()) + np.concatenate([[0], np.cumsum(sizes[between])])
    distance = np.abs(zeros - target)
    keep[between[: int(np.flatnonzero(distance == distance.min())[-1])]] = False
    return keep


def _last_largest(scores: Sequence[np.ndarray]) -> list[int]:
    """The index of each array's largest score, the last among equal ones, in the concatenated arrays."""
    found, start = [], 0
    for score in scores:
        found.append(start + score.size - 1 - int(np.argmax(score.ravel()[::-1])))
        start += score.size
    return found


def read_mask(weight: np.ndarray) -> np.ndarray | None:
    """The mask that a weight's zeros stand for, or None where there are no zeros."""
    keep = weight != 0
    return None if keep.all() else keep
