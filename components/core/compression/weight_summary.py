"""What a technique did to each weight: zeros, distinct integers in the shipped file, and how far it moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints import integer_grid
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import channel_scale, find_weight_sites


@dataclasses.dataclass(frozen=True)
class WeightSummary:
    """One weight after a technique.

    Attributes:
      name: of the variable.
      elements: number of weights.
      zeros: how many of them are zero.
      distinct: how many different integers an int8 kernel holds of it, batch norm folded in.
      moved: Euclidean distance from the incoming weight, relative to that weight's norm.
    """

    name: str
    elements: int
    zeros: int
    distinct: int
    moved: float


def summarize_weights(graph: ServingGraph, values: Mapping[str, np.ndarray]) -> tuple[WeightSummary, ...]:
    """Compares the weights of convolutions and matrix products with those that came in.

    Args:
      graph: the incoming signature.
      values: the values to write, by checkpoint key; those not named stay as they are.

    Returns:
      One summary for each weight, in order of the variables.

    Example:
      >>> summarize_weights(graph, {key: pruned})[0]
      WeightSummary(name='dense/kernel', elements=640, zeros=320, distinct=201, moved=0.13)
    """
    sites = find_weight_sites(graph)

    def shipped() -> list[tf.Tensor]:
        tensors = {key: tf.constant(value) for key, value in {**graph.stored_values(), **values}.items()}
        scales = [channel_scale(graph, site, tensors) for site in sites]
        kernels = [tensors[site.variable.key] for site in sites]
        return [
            kernel if scale is None else kernel * scale for kernel, scale in zip(kernels, scales, strict=True)
        ]

    summaries = []
    for site, kernel in zip(
        sites, tf.function(shipped, autograph=False).get_concrete_function()(), strict=True
    ):
        before = site.variable.value
        after = values.get(site.variable.key, before)
        largest = integer_grid.channel_largest(kernel, site.channel_axes).numpy()
        integers = np.rint(kernel.numpy() / np.where(largest > 0, largest, 1.0) * integer_types.largest(8))
        norm = float(np.linalg.norm(before.ravel()))
        distance = float(np.linalg.norm((after - before).ravel()))
        summaries.append(
            WeightSummary(
                name=site.variable.name,
                elements=after.size,
                zeros=after.size - int(np.count_nonzero(after)),
                distinct=len(np.unique(integers)),
                moved=round(distance / norm, 6) if norm else 0.0,
            )
        )
    return tuple(summaries)
