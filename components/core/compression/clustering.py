"""Weight clustering of a SavedModel."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.compression.constraints.codebook import make_codebook
from tfx_edge.components.core.compression.constraints.constrained_model import (
    ConstrainedModel,
    folded_kernels,
    incoming_constraints,
)
from tfx_edge.components.core.compression.constraints.constraints import Constraint
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions, fine_tune
from tfx_edge.components.core.compression.weights.weight_selection import select_weight_sites
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClusteringOptions:
    """What to cluster; the fields of `proto.Clustering`, with its defaults filled in."""

    number_of_clusters: int
    preserve_sparsity: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    granularity: str = 'DEPLOYED'
    initialization: str = 'KMEANS_PLUS_PLUS'


def cluster(
    graph: ServingGraph,
    clustering: ClusteringOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Gives each weight a codebook, then trains its members and the weights' places in it.

    A weight that came in with no more values than asked for keeps them at first. Weights that are not
    selected keep the codebooks they came in with; members are trained all the same.

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
        codebook = make_codebook(
            kernels[key] if clustering.granularity == 'DEPLOYED' else site.variable.value,
            keep,
            site.channel_axes,
            clustering.number_of_clusters,
            generator,
            granularity=clustering.granularity,
            initialization=clustering.initialization,
        )
        constraints[key] = Constraint(keep, codebook)
        _LOG.info('%s: %d clusters for %d weights', site.variable.name, codebook.size, kernels[key].size)
    model = ConstrainedModel(graph, sites, constraints)
    if fine_tuning.num_steps and batches is not None:
        fine_tune(
            graph,
            lambda inputs, fetch: graph.call(inputs, model.values(), fetch),
            model.trainable,
            batches,
            fine_tuning,
            state=model.state,
        )
    return model.final_values()
