"""A signature whose weights are trained freely and used as their constraints allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.constraints import Constraint, project, read_constraint
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weight_sites import WeightSite, channel_scale


class ConstrainedModel:
    """The trainable variables of a signature, and the values its graph is to use instead of them.

    The graph always sees weights that satisfy their constraints; gradients pass through the rounding
    unchanged (the straight-through estimator, Bengio et al., 2013, arXiv:1308.3432) and are zero where
    a mask drops a weight, so that a dropped weight keeps its magnitude and may come back.

    Args:
      graph: the signature.
      sites: all its weight sites.
      constraints: by variable key; sites without one are free.

    Example:
      >>> model = ConstrainedModel(graph, sites, {key: Constraint(keep=mask)})
      >>> model.final_values()[key][~mask].any()
      False
    """

    def __init__(
        self, graph: ServingGraph, sites: tuple[WeightSite, ...], constraints: Mapping[str, Constraint]
    ) -> None:
        self.graph = graph
        self.sites = sites
        self._constraints = dict(constraints)
        self.variables = {v.key: tf.Variable(v.value) for v in graph.variables if v.trainable}
        self._masks = {
            key: tf.Variable(constraint.keep.astype(np.float32), trainable=False)
            for key, constraint in constraints.items()
            if constraint.keep is not None
        }

    def set_mask(self, key: str, keep: np.ndarray) -> None:
        """Replaces the mask of a weight whose constraint has one."""
        self._masks[key].assign(keep.astype(np.float32))

    def weight(self, key: str) -> np.ndarray:
        """The freely trained value of a weight, before projection."""
        return self.variables[key].numpy()

    def values(self) -> dict[str, tf.Tensor]:
        """What the graph uses for each trainable variable; to be called inside a `tf.function`."""
        values: dict[str, tf.Tensor] = {key: tf.identity(v) for key, v in self.variables.items()}
        free = dict(values)
        for site in self.sites:
            constraint = self._constraints.get(site.variable.key)
            if constraint is not None:
                values[site.variable.key] = self._constrained(site, constraint, free)
        return values

    def final_values(self) -> dict[str, np.ndarray]:
        """The values to write: every constraint holds, every other variable as trained, by key."""
        values = tf.function(self.values, autograph=False)()
        return {key: value.numpy() for key, value in values.items()}

    def _constrained(
        self, site: WeightSite, constraint: Constraint, free: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        key = site.variable.key
        keep = self._masks.get(key)
        weight = free[key] if keep is None else free[key] * keep
        if not constraint.quantizes:
            return weight
        scale = channel_scale(self.graph, site, free)
        if scale is None:
            projected = project(weight, constraint, keep, site.channel_axes)
        else:
            # A channel that batch norm multiplies by zero ships as zeros, whatever its weights are.
            folded = project(weight * scale, constraint, keep, site.channel_axes)
            projected = tf.where(scale != 0, tf.math.divide_no_nan(folded, scale), weight)
        return weight + tf.stop_gradient(projected - weight)


def folded_kernels(graph: ServingGraph, sites: tuple[WeightSite, ...]) -> dict[str, np.ndarray]:
    """Each site's weight as it ships: times the factor that is folded into it, by variable key."""

    def folded() -> dict[str, tf.Tensor]:
        stored = {key: tf.constant(value) for key, value in graph.stored_values().items()}
        kernels = {}
        for site in sites:
            scale = channel_scale(graph, site, {})
            weight = stored[site.variable.key]
            kernels[site.variable.key] = weight if scale is None else weight * scale
        return kernels

    return {key: kernel.numpy() for key, kernel in tf.function(folded, autograph=False)().items()}


def incoming_constraints(
    graph: ServingGraph, sites: tuple[WeightSite, ...], *, zeros: bool = True, clusters: bool = True
) -> dict[str, Constraint]:
    """What the weights that came in satisfy already and are to keep, by variable key."""
    kernels = folded_kernels(graph, sites)
    constraints = {}
    for site in sites:
        key = site.variable.key
        constraint = read_constraint(kernels[key], site.channel_axes, zeros=zeros, clusters=clusters)
        if constraint.keep is not None:
            # Zeros of the weight itself: a channel folded away is not a mask.
            keep = site.variable.value != 0
            constraint = Constraint(None if keep.all() else keep, constraint.codebook)
        constraints[key] = constraint
    return constraints
