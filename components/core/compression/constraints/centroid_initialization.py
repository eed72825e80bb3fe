"""Centroids of one-dimensional k-means: where they start, and where Lloyd's steps move them."""

from __future__ import annotations

import numpy as np

_LLOYD_STEPS = 50


def place_centroids(
    points: np.ndarray,
    mass: np.ndarray,
    pinned: np.ndarray,
    count: int,
    initialization: str,
    generator: np.random.Generator,
) -> np.ndarray:
    """Places centroids so that the squared distance of the points to the nearest one is small.

    They start by k-means++ (Arthur and Vassilvitskii, 2007), evenly spaced between the smallest and the
    largest point (`LINEAR`), or evenly spaced in the cumulative distribution (`DENSITY`); the latter two
    are those of Han, Mao and Dally, 2016 (arXiv:1510.00149). Lloyd's steps follow in each case, as they
    do there. Where there are at most `count` distinct points, these are the centroids.

    Args:
      points: sorted, float64, of shape (n,).
      mass: of each point, positive, of shape (n,).
      pinned: centroids that exist and do not move, of shape (p,).
      count: centroids to add at most.
      initialization: one of INITIALIZATIONS.
      generator: of the first centroids; `KMEANS_PLUS_PLUS` draws from it.

    Returns:
      The centroids added, sorted, at most `count`.

    Example:
      >>> points = np.array([1.0, 1.2, 5.0, 5.2])
      >>> place_centroids(points, np.ones(4), np.array([]), 2, 'LINEAR', np.random.default_rng(0))
      array([1.1, 5.1])
    """
    distinct = np.setdiff1d(points, pinned)
    if distinct.size <= count:
        return distinct
    if initialization == 'LINEAR':
        start = _evenly_spaced(points, pinned, count)
    elif initialization == 'DENSITY':
        cumulative = np.cumsum(mass)
        start = points[np.searchsorted(cumulative, (np.arange(count) + 0.5) / count * cumulative[-1])]
    else:
        start = _seed(points, mass, pinned, count, generator)
    return _lloyd(points, mass, pinned, start)


def _evenly_spaced(points: np.ndarray, pinned: np.ndarray, count: int) -> np.ndarray:
    """Values from the smallest to the largest point or pinned centroid, without an end that is pinned."""
    low, high = min(points[0], *pinned, np.inf), max(points[-1], *pinned, -np.inf)
    ends = [float(low in pinned), float(high in pinned)]
    return np.linspace(low, high, count + int(sum(ends)))[int(ends[0]) :][:count]


def _seed(
    points: np.ndarray, mass: np.ndarray, pinned: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """k-means++: each centroid is drawn in proportion to mass times squared distance."""
    chosen: list[float] = []
    if not pinned.size:
        chosen.append(_draw(points, mass, generator))
    distance = np.min([np.square(points - value) for value in (*pinned, *chosen)], axis=0)
    while len(chosen) < count:
        chosen.append(_draw(points, distance * mass, generator))
        distance = np.minimum(distance, np.square(points - chosen[-1]))
    return np.array(chosen)


def _draw(points: np.ndarray, chances: np.ndarray, generator: np.random.Generator) -> float:
    cumulative = np.cumsum(chances)
    index = int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side='right'))
    return float(points[min(index, points.size - 1)])


def _lloyd(points: np.ndarray, mass: np.ndarray, pinned: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Moves each free centroid to the mean of its points, until none moves."""
    total = np.concatenate([[0.0], np.cumsum(mass)])
    moment = np.concatenate([[0.0], np.cumsum(mass * points)])
    free = np.sort(start)
    for _ in range(_LLOYD_STEPS):
        centroids = np.concatenate([pinned, free])
        order = np.argsort(centroids, kind='stable')
        centroids = centroids[order]
        cuts = np.searchsorted(points, (centroids[1:] + centroids[:-1]) / 2, side='right')
        cuts = np.concatenate([[0], cuts, [points.size]])
        weight, sums = np.diff(total[cuts]), np.diff(moment[cuts])
        filled = weight > 0
        moved = np.where(filled, sums / np.where(filled, weight, 1.0), centroids)
        moved = np.sort(moved[order >= pinned.size])
        if np.array_equal(moved, free):
            break
        free = moved
    return free
