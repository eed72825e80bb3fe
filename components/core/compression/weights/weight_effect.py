"""Which weights have no effect on what a net computes, told by what no gradient reaches."""

from __future__ import annotations

import itertools

import numpy as np

from tfx_edge.components.core.compression.graph.graph_scopes import reached
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, weight_uses


def weights_that_read_units(graph: ServingGraph) -> frozenset[str]:
    """Keys of the variables whose operations read what other weights compute, not features of an example.

    Weights in loops and branches are not among them: what they read may be either.

    Example:
      ```
      reading = weights_that_read_units(graph)  # of a net of two dense layers: {'layers/1/kernel'}
      ```
    """
    uses = [(scope, site) for scope, _, site in weight_uses(graph)]
    behind = {
        id(scope): reached(
            itertools.chain.from_iterable(
                scope.consumers.get(site.node, ()) for other, site in uses if other is scope
            ),
            scope.consumers,
        )
        for scope, _ in uses
        if not scope.is_body
    }
    features = {site.variable.key for scope, site in uses if site.node not in behind.get(id(scope), ())}
    return frozenset(site.variable.key for _, site in uses) - features


def without_effect(site: WeightSite, touched: np.ndarray, *, reads_units: bool) -> np.ndarray:
    """The weights whose magnitude does not count, since no example gives them a gradient.

    A unit whose ReLU is zero for every example gives none to the weights that it reads, nor to those that read it.
    A weight that reads a feature counts, even if the feature was zero in all examples, as that of a rare word is; it
    does not where nothing reached the whole output channel. Where no weight had a gradient nothing is known: no step
    was made, or the loss does not depend on the operation.

    Args:
      site: of the weight.
      touched: whether each weight had a gradient other than zero, of the weight's shape.
      reads_units: whether `weights_that_read_units` names it.

    Returns:
      A boolean array of the weight's shape.

    Example:
      ```
      # Two features into two units, of which the second is dead: [[False, True], [False, True]].
      idle = without_effect(site, np.array([[True, False], [True, False]]), reads_units=False)
      ```
    """
    if not touched.any():
        return np.zeros(touched.shape, bool)
    if reads_units:
        return ~touched
    if not site.channel_axes:
        return np.zeros(touched.shape, bool)
    others = tuple(axis for axis in range(touched.ndim) if axis not in site.channel_axes)
    return np.broadcast_to(~touched.any(others, keepdims=True), touched.shape)
