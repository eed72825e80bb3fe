"""Weight clustering of a SavedModel."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.compression.clustering_options import ClusteringOptions
from tfx_edge.components.core.compression.constraints.codebook import Codebook, make_codebook
from tfx_edge.components.core.compression.constraints.constrained_model import (
    ConstrainedModel,
    folded_kernels,
    incoming_constraints,
)
from tfx_edge.components.core.compression.constraints.constraints import Constraint
from tfx_edge.components.core.compression.constraints.geometric_codebook import make_geometric_codebook
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning import fine_tune
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.training_hooks import TrainingHooks
from tfx_edge.components.core.compression.weight_summary import distinct_integers
from tfx_edge.components.core.compression.weights.computed_kernels import report_computed_kernels
from tfx_edge.components.core.compression.weights.dense_sites import with_dense_scales
from tfx_edge.components.core.compression.weights.weight_selection import select_weight_sites
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites

_LOG = logging.getLogger(__name__)


def cluster(
    graph: ServingGraph,
    clustering: ClusteringOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Gives each weight a codebook, then trains its members and which of them each weight takes.

    A weight that has no more distinct values than `number_of_clusters` starts with these as members. Weights that
    are not selected keep the codebooks they came in with; the members of these are trained too.

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
    sites = with_dense_scales(find_weight_sites(graph), clustering.dense_scales)
    report_computed_kernels(graph, sites, 'cluster')
    selected = select_weight_sites(sites, clustering.include, clustering.exclude, 'cluster')
    constraints = incoming_constraints(graph, sites, zeros=clustering.preserve_sparsity)
    kernels = folded_kernels(graph, selected)
    for site in selected:
        key = site.variable.key
        keep = constraints[key].keep
        # Each weight draws from its own stream, so that adding or removing one changes no other's codebook.
        generator = np.random.default_rng([fine_tuning.seed, zlib.crc32(key.encode())])
        codebook = _codebook(site, kernels[key], keep, clustering, generator)
        constraints[key] = Constraint(keep, codebook)
        _LOG.info('%s: %d clusters for %d weights', site.variable.name, codebook.size, kernels[key].size)
    model = ConstrainedModel(graph, sites, constraints)
    if clustering.granularity == 'DEPLOYED':
        _report_spread(graph, selected, model.final_values(), clustering.number_of_clusters)
    if fine_tuning.num_steps and batches is not None:
        fine_tune(
            graph,
            lambda inputs, fetch: graph.call(inputs, model.values(), fetch),
            model.trainable,
            batches,
            fine_tuning,
            TrainingHooks(model.state),
        )
    return model.final_values()


def _codebook(
    site: WeightSite,
    kernel: np.ndarray,
    keep: np.ndarray | None,
    clustering: ClusteringOptions,
    generator: np.random.Generator,
) -> Codebook:
    """The codebook of a weight whose folded kernel and mask are given."""
    is_deployed = clustering.granularity == 'DEPLOYED'
    if is_deployed and not site.has_one_axis:
        return make_geometric_codebook(site.variable.value, keep, clustering.number_of_clusters)
    return make_codebook(
        kernel if is_deployed else site.variable.value,
        keep,
        site.scale_axes if is_deployed else site.channel_axes,
        clustering.number_of_clusters,
        generator,
        granularity=clustering.granularity,
        initialization=clustering.initialization,
    )


def _report_spread(
    graph: ServingGraph, sites: tuple[WeightSite, ...], values: Mapping[str, np.ndarray], clusters: int
) -> None:
    """Warns of weights whose kernels will hold more integers than clusters: a codebook fits only one use."""
    shared = tuple(site for site in sites if site.uses)
    distinct = distinct_integers(graph, shared, values)
    for site in shared:
        found = distinct[site.variable.key]
        if found > clusters:
            _LOG.warning(
                '%s is to have %d clusters, and an int8 file will hold about %d distinct integers of it: %s use it, '
                'and something else is folded into the kernel of each. Give each a variable of its own to have %d, or '
                'exclude it.',
                site.variable.name,
                clusters,
                found,
                ' and '.join(sorted({use.op for use in site.uses})),
                clusters,
            )
