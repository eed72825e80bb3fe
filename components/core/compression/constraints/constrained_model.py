"""A signature whose weights are trained as free floats; the graph uses their projections to the constraints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.constraints.constraints import Constraint, project, read_constraint
from tfx_edge.components.core.compression.constraints.geometric_codebook import read_geometric_codebook
from tfx_edge.components.core.compression.constraints.straight_through import straight_through
from tfx_edge.components.core.compression.constraints.trained_codebook import TrainedCodebook
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import (
    WeightSite,
    channel_scale,
    channel_scales,
    scale_tensors,
)


class ConstrainedModel:
    """The trainable variables of a signature, and the values its graph is to use instead of them.

    The graph always sees weights that satisfy their constraints; gradients pass through the rounding
    unchanged (the straight-through estimator, Bengio et al., 2013, arXiv:1308.3432) and are zero where
    a mask drops a weight, unless there is feedback. Each weight takes
    the member of its codebook that is nearest to its free value, at each use anew; each member gets the
    gradients of all weights that took it. Members stay as they came where only `variables` are trained.

    Args:
      graph: the signature.
      sites: all its weight sites.
      constraints: by variable key; sites without one are free.
      feedback: whether a dropped weight that has no codebook gets the gradient at its place all the same, so
        that it may grow and come back when masks change (Lin et al., 2020, arXiv:2006.07253).

    Attributes:
      variables: the free values of the weights and of all other trainable variables, by key.

    Example:
      >>> model = ConstrainedModel(graph, sites, {key: Constraint(keep=mask)})
      >>> model.final_values()[key][~mask].any()
      False
    """

    def __init__(
        self,
        graph: ServingGraph,
        sites: tuple[WeightSite, ...],
        constraints: Mapping[str, Constraint],
        *,
        feedback: bool = False,
    ) -> None:
        self.graph = graph
        self.sites = sites
        self._constraints = dict(constraints)
        self._feedback = feedback
        self.variables = {v.key: tf.Variable(v.value) for v in graph.variables if v.trainable}
        self._masks = {
            key: tf.Variable(constraint.keep.astype(np.float32), trainable=False)
            for key, constraint in constraints.items()
            if constraint.keep is not None
        }
        self._codebooks = {
            site.variable.key: _trained_codebook(site, self._constraints[site.variable.key])
            for site in sites
            if site.variable.key in constraints and constraints[site.variable.key].codebook is not None
        }
        # Traced once: each line of progress evaluates it.
        self._evaluate = tf.function(self.values, autograph=False)

    @property
    def trainable(self) -> list[tf.Variable]:
        """What an optimizer trains: `variables`, then the members of the codebooks."""
        return [*self.variables.values(), *(codebook.variable for codebook in self._codebooks.values())]

    @property
    def state(self) -> list[tf.Variable]:
        """What training changes besides `trainable`: the masks."""
        return list(self._masks.values())

    def set_mask(self, key: str, keep: np.ndarray) -> None:
        """Replaces the mask of a weight whose constraint has one."""
        self._masks[key].assign(keep.astype(np.float32))

    def mask(self, key: str) -> np.ndarray:
        """The mask of a weight whose constraint has one: True is kept."""
        return self._masks[key].numpy() > 0

    def values(self) -> dict[str, tf.Tensor]:
        """What the graph uses for each trainable variable; to be called inside a `tf.function`."""
        values: dict[str, tf.Tensor] = {key: tf.identity(v) for key, v in self.variables.items()}
        free = dict(values)
        constrained = [site for site in self.sites if site.variable.key in self._constraints]
        names = scale_tensors(site for site in constrained if self._constraints[site.variable.key].quantizes)
        folded = self.graph.constants(free, names)
        for site in constrained:
            values[site.variable.key] = self._constrained(site, free, folded)
        return values

    def final_values(self) -> dict[str, np.ndarray]:
        """The values to write: every constraint holds, every other variable as trained, by key."""
        values = self._evaluate()
        # A weight below zero that a mask drops is -0.0; adding 0.0 makes it 0.0.
        return {key: value.numpy() + np.float32(0.0) for key, value in values.items()}

    def _constrained(
        self, site: WeightSite, free: Mapping[str, tf.Tensor], folded: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        key = site.variable.key
        constraint = self._constraints[key]
        keep = self._masks.get(key)
        weight = free[key] if keep is None else free[key] * keep
        if not constraint.quantizes:
            feedback = self._feedback and keep is not None
            return straight_through(free[key], tf.stop_gradient(weight)) if feedback else weight
        codebook = self._codebooks.get(key)
        return project(
            weight,
            constraint,
            keep,
            site.channel_axes,
            scale_axes=site.scale_axes,
            members=None if codebook is None else codebook.members(),
            scale=channel_scale(site, folded),
        )


def _trained_codebook(site: WeightSite, constraint: Constraint) -> TrainedCodebook:
    assert constraint.codebook is not None
    masked = constraint.keep is not None
    return TrainedCodebook(constraint.codebook, site.variable.value, masked, site.scale_axes)


def folded_kernels(graph: ServingGraph, sites: tuple[WeightSite, ...]) -> dict[str, np.ndarray]:
    """Each site's weight as it ships: times the factor that is folded into it, by variable key."""
    scales = channel_scales(graph, sites, {})
    weights = graph.stored_values()
    keys = [site.variable.key for site in sites]
    return {
        key: weights[key] if scale is None else weights[key] * scale
        for key, scale in zip(keys, scales, strict=True)
    }


def incoming_constraints(
    graph: ServingGraph, sites: tuple[WeightSite, ...], *, zeros: bool = True, clusters: bool = True
) -> dict[str, Constraint]:
    """The constraints that the incoming weights satisfy and are to keep, by variable key."""
    kernels = folded_kernels(graph, sites)
    constraints = {}
    for site in sites:
        key = site.variable.key
        constraint = read_constraint(
            kernels[key],
            site.channel_axes,
            weight=site.variable.value,
            zeros=zeros,
            clusters=clusters,
            scale_axes=site.scale_axes,
        )
        if clusters and not site.has_one_axis:
            geometric = read_geometric_codebook(site.variable.value)
            constraint = Constraint(constraint.keep, geometric or constraint.codebook)
        if constraint.keep is not None:
            # Zeros of the weight itself: a channel that batch norm multiplies by zero is not a mask.
            keep = site.variable.value != 0
            constraint = Constraint(None if keep.all() else keep, constraint.codebook)
        constraints[key] = constraint
    return constraints
