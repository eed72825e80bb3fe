"""From statistics to ranges: deterministic functions of what was counted.

Zero is always one of a quantized tensor's levels, so zeros are exact in any range and are not counted here.
No range is wider than from minimum to maximum. Where all values lie on one side of zero, only the end away from zero
is cut; a range with values on both sides of zero keeps zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.calibration.histogram import bin_of, edge
from tfx_edge.components.core.calibration.statistics import TensorStatistics, require_finite
from tfx_edge.components.core.errors import EdgeError

MIN_MAX, PERCENTILE, MSE, ENTROPY = METHODS = ('MIN_MAX', 'PERCENTILE', 'MSE', 'ENTROPY')

# The smallest candidate of MSE is the largest magnitude divided by this.
_SMALLEST = 256.0
# As in Migacz, 2017.
_LINEAR_BINS = 2048
# Finer candidates would differ by less than the width of a histogram bin.
_CANDIDATES_EVERY = 16


def needs_histograms(method: str) -> bool:
    """Whether a method reads more than minimum and maximum."""
    return method != MIN_MAX


def ranges(
    statistics: Mapping[str, TensorStatistics],
    method: str = MIN_MAX,
    percentile: float = 99.99,
    levels: int = 256,
) -> dict[str, tuple[float, float]]:
    """The range of each tensor.

    MIN_MAX: the smallest and the largest value.

    PERCENTILE: the range that holds the central `percentile` of the values other than zero: half of the rest is cut
    on each side, or all of it on the outer side of a tensor without values on both sides of zero. It ends on
    the outer edge of a bin, so it is up to 1/64 too wide, and cuts no more than it may.

    MSE: the range with the least expected squared error, which is step**2 / 12 for each value within and the squared
    distance for each value beyond, over all pairs of bin edges from the extremes down to 1/256 of the largest value.

    ENTROPY: the threshold on magnitudes with the least Kullback-Leibler divergence of the quantized distribution from
    the real one: S. Migacz, "8-bit Inference with TensorRT", GTC 2017. The bins are spread over 2048 linear ones
    first. A tensor with both signs has half of the levels for its magnitudes. With 2048 levels or more nothing is cut.

    Args:
      statistics: by tensor name; with histograms unless the method is MIN_MAX.
      method: one of METHODS.
      percentile: above 0, at most 100.
      levels: of the quantized tensor: 256 for int8, 65536 for int16.

    Returns:
      (minimum, maximum) by tensor name.

    Raises:
      EdgeError: a tensor held NaN, infinity or no value, or an argument is out of its bounds.

    Example:
      >>> ranges({'relu': measure(np.linspace(0, 1, 100_000, dtype=np.float32))}, 'PERCENTILE', percentile=90)
      {'relu': (0.0, 0.90625)}
    """
    if method not in METHODS:
        raise EdgeError(f'{method!r} is no range method; expected one of {", ".join(METHODS)}.')
    if not 0 < percentile <= 100:
        raise EdgeError(f'the percentile is {percentile}; expected a number above 0, at most 100.')
    require_finite(statistics)
    if method == MIN_MAX:
        return {name: (seen.minimum, seen.maximum) for name, seen in statistics.items()}
    found = {}
    for name, seen in statistics.items():
        values = _values(name, seen, method)
        if not values.counts.size or seen.minimum == seen.maximum:
            found[name] = (seen.minimum, seen.maximum)
        elif method == PERCENTILE:
            found[name] = _percentile(values, percentile)
        elif method == MSE:
            found[name] = _least_squares(values, levels)
        else:
            found[name] = _least_divergence(values, levels)
    return found


@dataclasses.dataclass(frozen=True)
class _Values:
    """The values other than zero: edges and counts of their bins, in order; and the extremes of all values."""

    minimum: float
    maximum: float
    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray

    def within(self, low: float, high: float) -> tuple[float, float]:
        """The range from `low` to `high`, without the cuts that are not allowed."""
        # A candidate may lie beyond the other end by a rounding.
        if self.minimum >= 0:
            return self.minimum, min(max(high, self.minimum), self.maximum)
        if self.maximum <= 0:
            return min(max(low, self.minimum), self.maximum), self.maximum
        return min(max(low, self.minimum), 0.0), max(min(high, self.maximum), 0.0)


def _values(name: str, seen: TensorStatistics, method: str) -> _Values:
    if seen.histogram is None:
        raise EdgeError(
            f'tensor {name.split(";")[0]!r} has no histogram, which {method} needs; calibrate with histograms.'
        )
    lower, upper = (np.clip(edges, seen.minimum, seen.maximum) for edges in seen.histogram.edges())
    other = seen.histogram.bins != 0
    return _Values(seen.minimum, seen.maximum, lower[other], upper[other], seen.histogram.counts[other])


def _percentile(values: _Values, percentile: float) -> tuple[float, float]:
    outside = int(values.counts.sum()) * (100 - percentile) / 100
    cut = int(outside / 2 if values.minimum < 0 < values.maximum else outside)
    # The first bin in which a value is kept, from either end.
    first = np.searchsorted(np.cumsum(values.counts), cut, side='right')
    last = np.searchsorted(np.cumsum(values.counts[::-1]), cut, side='right')
    return values.within(float(values.lower[first]), float(values.upper[::-1][last]))


def _least_squares(values: _Values, levels: int) -> tuple[float, float]:
    # Scaled to 1, so that no square overflows.
    largest = max(-values.minimum, values.maximum)
    centers = (values.lower + values.upper) / 2 / largest
    highs = _candidates(values.maximum, largest)
    lows = _candidates(-values.minimum, largest)
    beyond_high, clipped_high = _clipped(centers, values.counts, highs)
    beyond_low, clipped_low = _clipped(-centers[::-1], values.counts[::-1], lows)
    within = values.counts.sum() - beyond_high - beyond_low[:, np.newaxis]
    step = (np.maximum(highs, 0) + np.maximum(lows, 0)[:, np.newaxis]) / (levels - 1)
    cost = within * step**2 / 12 + clipped_high + clipped_low[:, np.newaxis]
    # Of equal costs, argmin finds the first, which is that of the widest range.
    low, high = np.unravel_index(np.argmin(cost), cost.shape)
    return values.within(float(-lows[low] * largest), float(highs[high] * largest))


def _candidates(outermost: float, largest: float) -> np.ndarray:
    """Where one side may end, scaled by the largest magnitude, from outermost to innermost."""
    smallest = largest / _SMALLEST
    if outermost <= smallest:
        return np.array([outermost]) / largest
    edges = edge(np.arange(bin_of(smallest), bin_of(outermost) + 1))
    return np.concatenate([[outermost], edges[(edges > 0) & (edges < outermost)][::-1]]) / largest


def _clipped(centers: np.ndarray, counts: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many values lie beyond each candidate, and the sum of their squared distances from it."""
    # From the outside in: entry i is the sum over the i outermost bins.
    outer, number = centers[::-1], counts[::-1].astype(np.float64)
    zeroth, first, second = (np.concatenate([[0.0], np.cumsum(number * outer**power)]) for power in range(3))
    beyond = np.searchsorted(-outer, -highs, side='left')
    squares = second[beyond] - 2 * highs * first[beyond] + highs**2 * zeroth[beyond]
    return zeroth[beyond], np.maximum(squares, 0)


def _least_divergence(values: _Values, levels: int) -> tuple[float, float]:
    largest = max(-values.minimum, values.maximum)
    negative = values.upper <= 0
    linear = _linear(
        -values.upper[negative][::-1], -values.lower[negative][::-1], values.counts[negative][::-1], largest
    )
    linear += _linear(values.lower[~negative], values.upper[~negative], values.counts[~negative], largest)
    of_magnitudes = levels // 2 if values.minimum < 0 < values.maximum else levels
    candidates = range(_LINEAR_BINS, of_magnitudes - 1, -_CANDIDATES_EVERY)
    if not candidates:
        return values.minimum, values.maximum
    best = min(candidates, key=lambda size: _divergence(linear, size, of_magnitudes))
    threshold = largest * best / _LINEAR_BINS
    return values.within(-threshold, threshold)


def _linear(lower: np.ndarray, upper: np.ndarray, counts: np.ndarray, largest: float) -> np.ndarray:
    """Counts in 2048 equal bins from 0 to the largest magnitude; each histogram bin is spread evenly over them."""
    if not counts.size:
        return np.zeros(_LINEAR_BINS)
    below = np.concatenate([[0.0], np.cumsum(counts.astype(np.float64))])
    places = np.stack([lower, upper], axis=1).ravel() / largest
    reached = np.stack([below[:-1], below[1:]], axis=1).ravel()
    return np.diff(np.interp(np.linspace(0, 1, _LINEAR_BINS + 1), places, reached, left=0.0))


def _divergence(linear: np.ndarray, size: int, levels: int) -> float:
    """Kullback-Leibler divergence when the first `size` bins are quantized and what is beyond is clipped."""
    inside = linear[:size]
    real = inside.copy()
    real[-1] += linear[size:].sum()
    starts = np.arange(levels) * size // levels
    occupied = inside > 0
    number = np.add.reduceat(occupied.astype(np.int64), starts)
    mean = np.add.reduceat(inside, starts) / np.maximum(number, 1)
    quantized = np.where(occupied, np.repeat(mean, np.diff([*starts, size])), 0.0)
    seen = real > 0
    if not quantized.sum() or (quantized[seen] == 0).any():
        return np.inf
    p, q = real[seen] / real.sum(), quantized[seen] / quantized.sum()
    return float(np.sum(p * np.log(p / q)))
