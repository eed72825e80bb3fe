"""`proto.Clustering` as the options of `core.compression.clustering`, each value checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.compression.clustering_options import ClusteringOptions
from tfx_edge.components.core.compression.constraints.codebook_limits import (
    GRANULARITIES,
    INITIALIZATIONS,
    MAX_CLUSTERS,
    MIN_CLUSTERS,
)
from tfx_edge.components.core.dense_scales import DENSE_SCALES, PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface.exec_properties import require, require_patterns, require_supported
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.parameter_check import check_training_parameters

CLUSTERING = Configuration('clustering', proto.Clustering)


def clustering_options(message: proto.Clustering) -> ClusteringOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range.
    """
    granularity = require_supported(message, 'granularity', GRANULARITIES)
    minimum = MIN_CLUSTERS[granularity]
    return ClusteringOptions(
        number_of_clusters=require(
            message,
            'number_of_clusters',
            lambda v: minimum <= v <= MAX_CLUSTERS,
            f'{minimum} to {MAX_CLUSTERS} with granularity {granularity}',
        ),
        preserve_sparsity=message.preserve_sparsity,
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
        granularity=granularity,
        initialization=require_supported(message, 'initialization', INITIALIZATIONS),
        dense_scales=_dense_scales(message, granularity),
    )


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone; see `check_training_parameters`."""
    check_training_parameters(CLUSTERING, clustering_options, properties, inputs)


def _dense_scales(message: proto.Clustering, granularity: str) -> str:
    dense_scales = require_supported(message, 'dense_scales', DENSE_SCALES)
    if dense_scales != PER_CHANNEL and granularity != 'DEPLOYED':
        raise EdgeError(
            f'Clustering.dense_scales {dense_scales} has a meaning with granularity DEPLOYED only, and granularity is '
            f'{granularity}; leave one of the two unset.'
        )
    return dense_scales
