"""Weight clustering of a SavedModel in the domain that ships."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.compression.codebook import deployed_codebook
from tfx_edge.components.core.compression.constrained_model import (
    ConstrainedModel,
    folded_kernels,
    incoming_constraints,
)
from tfx_edge.components.core.compression.constraints import Constraint
from tfx_edge.components.core.compression.fine_tuning import FineTuningOptions, fine_tune
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weight_sites import find_weight_sites, select_weight_sites

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClusteringOptions:
    """What to cluster; the fields of `proto.Clustering`, with its defaults filled in."""

    number_of_clusters: int
    preserve_sparsity: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]


def cluster(
    graph: ServingGraph,
    clustering: ClusteringOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Gives each weight a deployed codebook, then trains the weights' places in it.

    Args:
      graph: the incoming signature.
      clustering: what to cluster.
      fine_tuning: how to train; with no steps the codebooks are only placed.
      batches: of `training_batches`; None when there are no steps.

    Returns:
      New values of the trainable variables, by checkpoint key.

    Raises:
      EdgeError: there is no weight to cluster, or training fails.
    """
    sites = find_weight_sites(graph)
    selected = select_weight_sites(sites, clustering.include, clustering.exclude, 'cluster')
    constraints = incoming_constraints(graph, sites, zeros=clustering.preserve_sparsity)
    kernels = folded_kernels(graph, selected)
    for site in selected:
        key = site.variable.key
        keep = constraints[key].keep
        # Each weight draws from its own stream, so that one more or less changes no other's codebook.
        generator = np.random.default_rng([fine_tuning.seed, zlib.crc32(key.encode())])
        codebook = deployed_codebook(
            kernels[key], keep, site.channel_axes, clustering.number_of_clusters, generator
        )
        constraints[key] = Constraint(keep, codebook)
        _LOG.info('%s: %d clusters for %d weights', site.variable.name, codebook.size, kernels[key].size)
    model = ConstrainedModel(graph, sites, constraints)
    if fine_tuning.num_steps and batches is not None:
        fine_tune(
            graph,
            lambda inputs, fetch: graph.call(inputs, model.values(), fetch),
            list(model.variables.values()),
            batches,
            fine_tuning,
        )
    return model.final_values()
