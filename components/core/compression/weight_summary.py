"""What a technique did to each weight that ships: zeros, distinct integers in the file, and how far it moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints import integer_grid
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.computed_kernels import made_kernels, made_values
from tfx_edge.components.core.compression.weights.dense_sites import with_dense_scales
from tfx_edge.components.core.compression.weights.weight_sites import (
    WeightSite,
    channel_scales,
    find_weight_sites,
)
from tfx_edge.components.core.dense_scales import PER_CHANNEL


@dataclasses.dataclass(frozen=True)
class WeightSummary:
    """One weight after a technique.

    Attributes:
      name: of the variable; for a kernel that the graph computes, of all variables that it is computed from.
      elements: number of weights.
      zeros: how many of them are zero.
      distinct: number of distinct integers in its int8 kernel, batch norm folded in; the largest number, where several
        operations share the variable and have kernels of their own.
      moved: Euclidean distance from the incoming weight, relative to that weight's norm.
    """

    name: str
    elements: int
    zeros: int
    distinct: int
    moved: float


def summarize_weights(
    graph: ServingGraph, values: Mapping[str, np.ndarray], dense_scales: str = PER_CHANNEL
) -> tuple[WeightSummary, ...]:
    """Compares the weights of convolutions and matrix products with those that came in.

    Args:
      graph: the incoming signature.
      values: the values to write, by checkpoint key; those not named stay as they are.
      dense_scales: of the file's kernels of fully connected layers, PER_CHANNEL or PER_TENSOR.

    Returns:
      One summary for each weight, in order of the variables, then one for each kernel that the graph computes.

    Example:
      >>> summarize_weights(graph, {key: pruned})[0]
      WeightSummary(name='dense/kernel', elements=640, zeros=320, distinct=201, moved=0.13)
    """
    sites = with_dense_scales(find_weight_sites(graph), dense_scales)
    distinct = distinct_integers(graph, sites, values)
    summaries = [
        _summary(
            site.variable.name,
            site.variable.value,
            values.get(site.variable.key, site.variable.value),
            distinct[site.variable.key],
        )
        for site in sites
    ]
    made = made_kernels(graph)
    for kernel, before, after in zip(
        made, made_values(graph, made, {}), made_values(graph, made, values), strict=True
    ):
        axes = tuple(axis % after.ndim for axis in kernel.channel_axes)
        summaries.append(_summary(kernel.name, before, after, _distinct(after, axes)))
    return tuple(summaries)


def distinct_integers(
    graph: ServingGraph, sites: tuple[WeightSite, ...], values: Mapping[str, np.ndarray]
) -> dict[str, int]:
    """The largest number of distinct integers that a kernel of each weight has in an int8 file.

    Args:
      graph: the incoming signature.
      sites: some of its weights.
      values: of its variables, by checkpoint key; those not named stay as they are.

    Returns:
      By variable key.
    """
    kernels = [kernel for site in sites for kernel in site.kernels]
    weights = {**graph.stored_values(), **values}
    found: dict[str, int] = {}
    for kernel, scale in zip(kernels, channel_scales(graph, kernels, weights), strict=True):
        key = kernel.variable.key
        folded = weights[key] if scale is None else weights[key] * scale
        found[key] = max(found.get(key, 0), _distinct(folded, kernel.scale_axes))
    return found


def _distinct(kernel: np.ndarray, channel_axes: tuple[int, ...]) -> int:
    largest = integer_grid.channel_largest(tf.constant(kernel), channel_axes).numpy()
    most = integer_types.largest(8)
    integers = np.rint(kernel / np.where(largest > 0, largest, 1.0) * most).astype(np.int16)
    return int(np.count_nonzero(np.bincount(integers.ravel() + most)))


def _summary(name: str, before: np.ndarray, after: np.ndarray, distinct: int) -> WeightSummary:
    norm = float(np.linalg.norm(before.ravel()))
    distance = float(np.linalg.norm((after - before).ravel()))
    return WeightSummary(
        name=name,
        elements=after.size,
        zeros=after.size - int(np.count_nonzero(after)),
        distinct=distinct,
        moved=round(distance / norm, 6) if norm else 0.0,
    )
