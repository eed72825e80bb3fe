"""Codebooks: the few values that the weights of a tensor or of an output channel may take.

Clustering follows Han, Mao and Dally, 2016 (arXiv:1510.00149). What shares a codebook is its granularity:

  DEPLOYED  The weight as it ships. A folded kernel is s_c * q with one scale s_c for each output channel;
            q takes its values from K integers that all channels share. The quantizer makes the largest
            magnitude of each channel 127, so that -127 and 127 are members.
  TENSOR    The weight's own numbers: K floats in the whole tensor.
  CHANNEL   K floats in each output channel. Scales of channels change them together, so that a channel
            of the deployed weight has at most K integers.
  GEOMETRIC Of a weight with several kernels in the file, with scales along different axes: see
            `geometric_codebook`. It takes the place of DEPLOYED.

Where zeros are kept, 0 is one of the K.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints import integer_grid
from tfx_edge.components.core.compression.constraints.centroid_initialization import place_centroids
from tfx_edge.components.core.compression.constraints.codebook_limits import MAX_CLUSTERS

GEOMETRIC = 'GEOMETRIC'
_LIMIT = integer_types.largest(8)
# A group with more distinct floats than this is binned before k-means.
_BINS = 2**14


@dataclasses.dataclass(frozen=True, eq=False)
class Codebook:
    """The values that the weights of each group may take.

    Attributes:
      members: of shape (groups, K): one row for each output channel (`CHANNEL`), or a single row.
        Rows are sorted; one with fewer members repeats its largest. Integers from -127 to 127 (`DEPLOYED`), or
        float32.
      granularity: one of GRANULARITIES, or GEOMETRIC.
    """

    members: np.ndarray
    granularity: str = 'DEPLOYED'

    @property
    def size(self) -> int:
        """The largest number of distinct values in a group."""
        return int(_distinct_in_rows(self.members).max())


def make_codebook(
    weight: np.ndarray,
    keep: np.ndarray | None,
    channel_axes: tuple[int, ...],
    number_of_clusters: int,
    generator: np.random.Generator,
    *,
    granularity: str = 'DEPLOYED',
    initialization: str = 'KMEANS_PLUS_PLUS',
) -> Codebook:
    """Chooses the members of a codebook by k-means.

    Args:
      weight: float; the folded kernel for `DEPLOYED`.
      keep: boolean, of the weight's shape; False marks a zero to keep. None: there are none.
      channel_axes: axes that count output channels.
      number_of_clusters: K, MIN_CLUSTERS of the granularity or more.
      generator: of the first centroids.
      granularity: what shares a codebook.
      initialization: of `place_centroids`.

    Returns:
      A codebook of at most K members in each group, 0 among them where `keep` drops a weight.

    Example:
      >>> weight = np.array([[-2.0], [1.0], [1.1], [2.0]])
      >>> make_codebook(weight, None, (1,), 3, np.random.default_rng(0)).members
      array([[-127,   67,  127]])
    """
    if granularity == 'DEPLOYED':
        return Codebook(
            _deployed_members(weight, keep, channel_axes, number_of_clusters, initialization, generator)
        )
    kept = np.ones(weight.shape, bool) if keep is None else keep
    axes = channel_axes if granularity == 'CHANNEL' else ()
    zero = [] if kept.all() else [np.zeros(1)]
    rows = []
    for values, used in zip(groups(weight, axes), groups(kept, axes), strict=True):
        free = _float_members(values[used], number_of_clusters - len(zero), initialization, generator)
        # With a mask, weights that are kept are not zero, so no free member may be 0.
        rows.append(np.concatenate([*zero, free[free != 0] if zero else free]))
    return Codebook(_padded(rows), granularity)


def read_codebook(
    kernel: np.ndarray,
    weight: np.ndarray,
    channel_axes: tuple[int, ...],
    scale_axes: tuple[int, ...] | None = None,
) -> Codebook | None:
    """The codebook that a weight satisfies, or None where it has too many values.

    A weight may satisfy several codebooks: few floats in all, few floats in each channel, few integers in all.
    The one with the fewest members is read; of equal ones that of the tensor, before those of the channels.

    Args:
      kernel: the folded kernel.
      weight: the weight itself.
      channel_axes: axes that count output channels.
      scale_axes: axes that the kernel ships with scales along; None for `channel_axes`.

    Returns:
      Its distinct values, if they are few: MAX_CLUSTERS at most, and two weights or more to each.

    Example:
      >>> weight = np.repeat(np.array([[0.3], [0.7]], np.float32), 4, 0)
      >>> read_codebook(weight, weight, (1,)).members
      array([[0.3, 0.7]], dtype=float32)
    """
    integers = integer_grid.to_integers(kernel, channel_axes if scale_axes is None else scale_axes)
    deployed, tensor = None, _read_floats(weight, (), 'TENSOR')
    channel = _read_floats(weight, channel_axes, 'CHANNEL')
    if integers is not None:
        distinct = np.unique(integers)
        if distinct.size <= min(MAX_CLUSTERS, integers.size // 2):
            deployed = Codebook(distinct[None])
    if channel and len(channel.members) > 1:
        # Every channel holds -127 or 127, so these do not show that channels share members.
        if integers is not None and not _is_shared(integers * (np.abs(integers) < _LIMIT), channel_axes):
            deployed = None
        if not _is_shared(weight, channel_axes):
            tensor = None
    if deployed and tensor and tensor.size <= deployed.size and _more_than_two_channels(kernel, channel_axes):
        return tensor
    return deployed or tensor or channel


def with_zero(codebook: Codebook) -> Codebook:
    """A codebook of the same size that holds 0 in each group; in a full row, 0 replaces the member nearest to it."""
    rows = []
    for row in codebook.members:
        members = np.unique(row)
        pinned = (
            np.abs(members) == _LIMIT if codebook.granularity == 'DEPLOYED' else np.zeros(len(members), bool)
        )
        full = len(members) == codebook.members.shape[1] > 1
        if 0 not in members and full and not pinned.all():
            nearest = np.argmin(np.where(pinned, np.inf, np.abs(members)))
            members = np.delete(members, nearest)
        rows.append(np.unique(np.append(members, members.dtype.type(0))))
    return Codebook(_padded(rows, codebook.members.dtype), codebook.granularity)


def used_members(codebook: Codebook, *, masked: bool) -> np.ndarray:
    """The members that weights take, in the shape of `members`; with a mask, 0 is taken only in a row of zeros."""
    members = codebook.members
    return members.ravel()[member_layout(members, masked=masked)].reshape(members.shape)


def member_layout(members: np.ndarray, *, masked: bool) -> np.ndarray:
    """For each place of each row, the index in the flat array of the member to use there.

    Repeated members all point to the first of them, so that training moves them together. With a mask, the place
    of a 0 points to the nearest other member of its row, if there is one.

    Args:
      members: of shape (groups, K), rows sorted.
      masked: whether a mask keeps zeros.

    Returns:
      int64, of shape (groups * K,).

    Example:
      >>> member_layout(np.array([[-2, 0, 3, 3]]), masked=True)
      array([0, 0, 2, 2])
    """
    rows, size = members.shape
    layout = np.empty((rows, size), np.int64)
    for row, values in enumerate(members):
        shown = np.unique(values[values != 0]) if masked and values.any() else np.unique(values)
        nearest = np.abs(values[:, None] - shown[None, :]).argmin(axis=1)
        layout[row] = row * size + np.searchsorted(values, shown)[nearest]
    return layout.ravel()


def groups(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """An array with one row for each index of some axes, in their order; one row without axes."""
    leading = np.moveaxis(array, axes, range(len(axes)))
    return leading.reshape(int(np.prod([array.shape[axis] for axis in axes], dtype=int)), -1)


def _deployed_members(
    kernel: np.ndarray,
    keep: np.ndarray | None,
    channel_axes: tuple[int, ...],
    number_of_clusters: int,
    initialization: str,
    generator: np.random.Generator,
) -> np.ndarray:
    """Integers; -127, 127 and, where weights are dropped or a channel is all zero, 0 are among them.

    A weight counts with its channel's scale squared, so that the error of the kernel is minimized.
    """
    kept = np.ones(kernel.shape, bool) if keep is None else keep
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channel_axes)
    largest = np.where(kept, np.abs(kernel), 0.0).max(axis=others, keepdims=True).astype(np.float64)
    has_zero = not kept.all() or bool((largest == 0).any())
    pinned = np.array([-_LIMIT, 0, _LIMIT] if has_zero else [-_LIMIT, _LIMIT], np.float64)
    scales = np.broadcast_to(largest / _LIMIT, kernel.shape)
    used = kept & (scales > 0)
    if not used.any():
        return pinned.astype(np.int64)[None]
    # Members are integers, so k-means may sum over 4,064 bins of 1/16 instead of all weights.
    points, mass = _binned(
        kernel[used] / scales[used], (scales[used] / scales.max()) ** 2, -_LIMIT, 32 * _LIMIT, 1 / 16
    )
    free = place_centroids(points, mass, pinned, number_of_clusters - len(pinned), initialization, generator)
    return np.unique(np.rint(np.concatenate([pinned, free]))).astype(np.int64)[None]


def _float_members(
    values: np.ndarray, count: int, initialization: str, generator: np.random.Generator
) -> np.ndarray:
    points, occurrences = np.unique(values.astype(np.float64), return_counts=True)
    mass = occurrences.astype(np.float64)
    if points.size > max(_BINS, count):
        points, mass = _binned(points, mass, points[0], _BINS, (points[-1] - points[0]) / _BINS)
    return place_centroids(points, mass, np.array([]), count, initialization, generator)


def _binned(
    values: np.ndarray, weights: np.ndarray, low: float, bins: int, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and mass of each bin that is not empty; values beyond the last bin fall into it."""
    index = np.minimum(np.rint((values - low) / width).astype(np.int64), bins)
    mass = np.bincount(index, weights)
    sums = np.bincount(index, weights * values)
    filled = mass > 0
    return sums[filled] / mass[filled], mass[filled]


def _read_floats(weight: np.ndarray, axes: tuple[int, ...], granularity: str) -> Codebook | None:
    """The codebook of few distinct floats: at least two weights for each; zeros, which a mask makes, do not count."""
    ordered = np.sort(groups(weight, axes), axis=1)
    distinct = _distinct_in_rows(ordered)
    other_than_zero = distinct - (ordered == 0).any(axis=1)
    if distinct.max() > MAX_CLUSTERS or 2 * other_than_zero.sum() > np.count_nonzero(ordered):
        return None
    return Codebook(_padded([np.unique(row) for row in ordered], weight.dtype), granularity)


def _is_shared(array: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Whether values other than 0 are found in 1.5 channels or more on average."""
    rows = [np.unique(row[row != 0]) for row in groups(array, axes)]
    together = np.unique(np.concatenate(rows)).size
    return 2 * sum(row.size for row in rows) >= 3 * together


def _distinct_in_rows(ordered: np.ndarray) -> np.ndarray:
    return 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)


def _more_than_two_channels(kernel: np.ndarray, channel_axes: tuple[int, ...]) -> bool:
    """Whether more than two channels are not all zero: of two, each may hold one of the members -127 and 127."""
    return int(np.count_nonzero(groups(kernel, channel_axes).any(axis=1))) > 2


def _padded(rows: list[np.ndarray], dtype: np.dtype | type = np.float32) -> np.ndarray:
    """Sorted rows of one length; a shorter one repeats its last member, an empty one is zero."""
    width = max(1, *(len(row) for row in rows)) if rows else 1
    padded = np.zeros((len(rows), width), dtype)
    for index, row in enumerate(rows):
        if len(row):
            padded[index] = np.sort(np.append(row, np.repeat(row.max(), width - len(row))))
    return padded
