"""`proto.Clustering` as the options of `core.compression.clustering`, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.clustering import ClusteringOptions
from tfx_edge.components.core.compression.constraints.centroid_initialization import INITIALIZATIONS
from tfx_edge.components.core.compression.constraints.codebook import (
    GRANULARITIES,
    MAX_CLUSTERS,
    MIN_CLUSTERS,
)
from tfx_edge.components.core.dense_scales import DENSE_SCALES, PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface.exec_properties import require, require_patterns, require_supported
from tfx_edge.components.training.configuration import Configuration

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


def _dense_scales(message: proto.Clustering, granularity: str) -> str:
    dense_scales = require_supported(message, 'dense_scales', DENSE_SCALES)
    if dense_scales != PER_CHANNEL and granularity != 'DEPLOYED':
        raise EdgeError(
            f'Clustering.dense_scales {dense_scales} has a meaning with granularity DEPLOYED only, and granularity is '
            f'{granularity}; leave one of the two unset.'
        )
    return dense_scales
