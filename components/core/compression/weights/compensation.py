"""The kept weights of a layer changed so that its output stays, as near as it can, when others are dropped."""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.compression.weights.input_moments import InputMoments

# Of conjugate gradients. A mask drops few weights at once, and the first directions matter most.
_STEPS = 6


def compensated(
    weight: np.ndarray, before: np.ndarray, after: np.ndarray, moments: InputMoments
) -> np.ndarray:
    """A weight whose kept elements make up for those that a new mask drops.

    Of all values of the kept weights those are sought whose output differs least from that of before in the mean over
    examples of what the layer reads: the surgeon's update (Hassibi and Stork, 1993; layer by layer: Frantar and
    Alistarh, 2022, arXiv:2208.11580), by conjugate gradients.

    Args:
      weight: all values, those of dropped weights included.
      before: the mask under which the output is to stay: True is kept.
      after: the new mask, which drops more.
      moments: of what the layer reads.

    Returns:
      A float32 array: weights that the new mask drops have the value that they had.

    Example:
      >>> moments = InputMoments(np.ones((1, 2, 2)) + 1e-6 * np.eye(2))  # both inputs are always equal
      >>> keep = np.array([[True], [False]])
      >>> compensated(np.array([[1.0], [0.5]]), np.ones((2, 1), bool), keep, moments).ravel().round(3)
      array([1.5, 0.5], dtype=float32)
    """
    wanted, start = (
        moments.matrices(np.where(mask, weight, 0.0).astype(np.float64)) for mask in (before, after)
    )
    kept = moments.matrices(after.astype(np.float64))
    change = _least_squares(moments.moments, wanted - start, kept)
    return (weight + moments.weight(change, weight.shape)).astype(np.float32)


def _least_squares(moments: np.ndarray, target: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The change of kept weights that comes nearest to a target in the norm of the moments; all outputs at once."""
    diagonal = np.maximum(np.diagonal(moments, axis1=1, axis2=2)[:, :, np.newaxis], np.finfo(np.float64).tiny)
    change = np.zeros_like(target)
    residual = kept * (moments @ target)
    scaled = residual / diagonal
    direction = scaled.copy()
    norm = np.sum(residual * scaled, 1, keepdims=True)
    for _ in range(_STEPS):
        image = kept * (moments @ direction)
        curvature = np.sum(direction * image, 1, keepdims=True)
        length = np.divide(norm, curvature, out=np.zeros_like(norm), where=curvature > 0)
        change += length * direction
        residual -= length * image
        scaled = residual / diagonal
        following = np.sum(residual * scaled, 1, keepdims=True)
        direction = scaled + np.divide(following, norm, out=np.zeros_like(norm), where=norm > 0) * direction
        norm = following
    return change
