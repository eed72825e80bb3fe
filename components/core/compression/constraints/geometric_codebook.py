"""Codebooks for weights whose kernels in the file have their scales along different axes.

An embedding table that a gather and a transposed product use ships twice: with one scale, and with one for each row.
Few integers with the one scale are many with the others, for each row is divided by its own largest weight. A
geometric codebook holds a * r**k for k = 0, 1, ... and their negatives. Divided by a member, it stays geometric: the
largest weight of a row is a member, so the integers of each row are 127 * r**k, rounded.
"""

from __future__ import annotations

import numpy as np

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints.codebook import GEOMETRIC, Codebook
from tfx_edge.components.core.compression.constraints.codebook_limits import MAX_CLUSTERS

_LIMIT = integer_types.largest(8)
# Of the exponents k, relative to the largest: float32 rounds the members that they are read off.
_TOLERANCE = 1e-4
# A member nearer than this to halfway between two integers could be rounded up in one row and down in another.
_HALFWAY = 1e-3
_RATIOS = np.linspace(0.30, 0.98, 137)
_TOPS = np.linspace(0.5, 1.0, 21)
_MOST_POINTS = 2**12


def make_geometric_codebook(weight: np.ndarray, keep: np.ndarray | None, number_of_clusters: int) -> Codebook:
    """Chooses the largest member and the ratio by the squared error of the weight.

    Args:
      weight: float.
      keep: boolean, of the weight's shape; False marks a zero to keep. None: there are none.
      number_of_clusters: 3 or more.

    Returns:
      A codebook of at most `number_of_clusters` members, as many below zero as above; 0 is one where `keep` drops a
      weight, or the number is odd.

    Example:
      >>> make_geometric_codebook(np.array([[-1.0, 0.5], [0.25, 1.0]]), None, 6).members
      array([[-1.      , -0.495   , -0.245025,  0.245025,  0.495   ,  1.      ]], dtype=float32)
    """
    kept = np.abs(weight.astype(np.float64) if keep is None else weight[keep].astype(np.float64))
    points = np.sort(kept[kept > 0])
    if points.size > _MOST_POINTS:
        points = np.quantile(points, (np.arange(_MOST_POINTS) + 0.5) / _MOST_POINTS)
    has_zero = number_of_clusters % 2 == 1 or bool(keep is not None and not keep.all())
    count = max(1, (number_of_clusters - has_zero) // 2)
    if not points.size:
        return Codebook(np.zeros((1, 1), np.float32), GEOMETRIC)
    best = min(
        (_magnitudes(top * points[-1], ratio, count) for ratio in _usable_ratios(count) for top in _TOPS),
        key=lambda magnitudes: _error(points, magnitudes, has_zero=has_zero),
    )
    zero = [0.0] if has_zero else []
    return Codebook(np.array([[*-best[::-1], *zero, *best]], np.float32), GEOMETRIC)


def read_geometric_codebook(weight: np.ndarray) -> Codebook | None:
    """The geometric codebook that a weight satisfies; None where it has too many values, or they are not geometric.

    Args:
      weight: float32.

    Returns:
      The members that are used, those between them, and their negatives.

    Example:
      >>> read_geometric_codebook(np.array([[8.0, -2.0], [1.0, 0.0]], np.float32)) is None
      True
    """
    values = np.unique(weight)
    magnitudes = np.unique(np.abs(values[values != 0]).astype(np.float64))
    if not magnitudes.size or values.size > MAX_CLUSTERS or 2 * values.size > weight.size:
        return None
    steps = np.log(magnitudes[-1] / magnitudes)
    if magnitudes.size == 1:
        places = np.zeros(1)
        ratio = 1.0
    else:
        step = np.diff(-steps).min()
        places = steps / step
        ratio = float(np.exp(-step))
    if np.abs(places - np.rint(places)).max() > _TOLERANCE * max(1.0, places.max()):
        return None
    count = int(np.rint(places.max())) + 1
    if 2 * count + 1 > MAX_CLUSTERS:
        return None
    # The weight's own values where it has them, so that projecting to the codebook changes none.
    members = magnitudes[-1] * ratio ** np.arange(count)
    members[np.rint(places).astype(int)] = magnitudes
    ordered = np.sort(members)
    zero = [0.0] if 0 in values else []
    return Codebook(np.array([[*-ordered[::-1], *zero, *ordered]], np.float32), GEOMETRIC)


def _magnitudes(top: float, ratio: float, count: int) -> np.ndarray:
    return top * ratio ** np.arange(count - 1, -1, -1, dtype=np.float64)


def _usable_ratios(count: int) -> np.ndarray:
    """The ratios with which no member lies halfway between two integers."""
    integers = _LIMIT * _RATIOS[:, None] ** np.arange(count)
    halfway = np.abs(integers - np.floor(integers) - 0.5).min(axis=1)
    return _RATIOS[halfway > _HALFWAY]


def _error(points: np.ndarray, magnitudes: np.ndarray, *, has_zero: bool) -> float:
    """Sum of squared distances of sorted magnitudes to the nearest member."""
    members = np.concatenate([[0.0], magnitudes]) if has_zero else magnitudes
    cuts = (members[1:] + members[:-1]) / 2
    return float(np.square(points - members[np.searchsorted(cuts, points)]).sum())
