"""The deployed codebook: at most K integers, shared by all channels of a weight as it ships.

Clustering follows Han, Mao and Dally, 2016 (arXiv:1510.00149), moved into the domain that ships. A
folded kernel is s_c * q with one scale s_c for each output channel; q takes its values from K integers.
The quantizer makes the largest magnitude of each channel 127, so the codebook holds -127 and 127.
"""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core.compression import integer_grid

# A weight with more distinct integers than this, or with fewer than two weights to each, is not
# clustered: eight-bit weights have up to 255 of them, and a small kernel has few weights.
MAX_CLUSTERS = 64
# -127, 0 and 127 are members of a codebook that keeps zeros.
MIN_CLUSTERS = 3
_LIMIT = integer_grid.limit(8)
_LLOYD_STEPS = 50


def deployed_codebook(
    kernel: np.ndarray,
    keep: np.ndarray | None,
    channel_axes: tuple[int, ...],
    number_of_clusters: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Chooses the integers of a codebook by weighted k-means.

    Centroids start by k-means++ (Arthur and Vassilvitskii, 2007) and move by Lloyd's steps; -127, 127
    and, where weights are dropped or a channel is all zero, 0 are members from the start and stay. A
    weight counts with its channel's scale squared, so that the error of the kernel is minimized.

    Args:
      kernel: the folded kernel, float.
      keep: boolean, of the kernel's shape; False is a zero to keep. None keeps none.
      channel_axes: axes that count output channels.
      number_of_clusters: K, MIN_CLUSTERS or more.
      generator: of the first centroids.

    Returns:
      At most K sorted distinct integers from -127 to 127, int64.

    Example:
      >>> deployed_codebook(np.array([[-2.0], [1.0], [1.1], [2.0]]), None, (1,), 3, np.random.default_rng(0))
      array([-127,   67,  127])
    """
    kept = np.ones(kernel.shape, bool) if keep is None else keep
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channel_axes)
    largest = np.where(kept, np.abs(kernel), 0.0).max(axis=others, keepdims=True).astype(np.float64)
    has_zero = not kept.all() or bool((largest == 0).any())
    pinned = np.array([-_LIMIT, 0, _LIMIT] if has_zero else [-_LIMIT, _LIMIT], np.float64)
    scales = np.broadcast_to(largest / _LIMIT, kernel.shape)
    used = kept & (scales > 0)
    values = kernel[used] / scales[used]
    weights = (scales[used] / scales.max()) ** 2 if used.any() else scales[used]
    # Sums over a few thousand integer-wide bins instead of all weights: the codebook is integers.
    centers, mass = _binned(values, weights)
    free = _seed(centers, mass, pinned, number_of_clusters - len(pinned), generator)
    free = _lloyd(centers, mass, pinned, free)
    return np.unique(np.rint(np.concatenate([pinned, free]))).astype(np.int64)


def read_codebook(integers: np.ndarray | None) -> np.ndarray | None:
    """The codebook that a weight on the integer grid stands for, or None where it has none.

    Args:
      integers: of `integer_grid.to_integers`.

    Returns:
      The sorted distinct integers with -127 and 127, if they are few.
    """
    if integers is None:
        return None
    distinct = np.unique(integers)
    if distinct.size > min(MAX_CLUSTERS, integers.size // 2):
        return None
    return distinct


def with_zero(codebook: np.ndarray) -> np.ndarray:
    """A codebook of the same size that holds 0; its member nearest to 0 makes room."""
    if 0 in codebook:
        return codebook
    free = codebook[np.abs(codebook) < _LIMIT]
    dropped = free[np.argmin(np.abs(free))] if free.size else None
    return np.unique(np.append(codebook[codebook != dropped], 0))


def _binned(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means and masses of bins a sixteenth of an integer wide."""
    bins = np.rint((values + _LIMIT) * 16).astype(np.int64)
    mass = np.bincount(bins, weights)
    sums = np.bincount(bins, weights * values)
    filled = mass > 0
    return sums[filled] / mass[filled], mass[filled]


def _seed(
    centers: np.ndarray, mass: np.ndarray, pinned: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """k-means++: each new centroid is drawn in proportion to mass times squared distance."""
    chosen = list(pinned)
    for _ in range(count):
        distance = np.min([np.square(centers - value) for value in chosen], axis=0) * mass
        total = distance.sum()
        if total <= 0:
            break
        index = int(np.searchsorted(np.cumsum(distance), generator.random() * total))
        chosen.append(centers[min(index, centers.size - 1)])
    return np.array(chosen[len(pinned) :], np.float64)


def _lloyd(centers: np.ndarray, mass: np.ndarray, pinned: np.ndarray, free: np.ndarray) -> np.ndarray:
    for _ in range(_LLOYD_STEPS):
        members = np.sort(np.concatenate([pinned, free]))
        nearest = np.searchsorted((members[1:] + members[:-1]) / 2, centers)
        weight = np.bincount(nearest, mass, minlength=members.size)
        total = np.bincount(nearest, mass * centers, minlength=members.size)
        moved = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), members)
        updated = moved[~np.isin(members, pinned)]
        if np.array_equal(updated, np.sort(free)):
            break
        free = updated
    return free
