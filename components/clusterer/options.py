"""`proto.Clustering` as the options of `core.compression.clustering`, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.clustering import ClusteringOptions
from tfx_edge.components.core.compression.codebook import MAX_CLUSTERS, MIN_CLUSTERS
from tfx_edge.components.exec_properties import require, require_patterns, require_supported


def clustering_options(message: proto.Clustering) -> ClusteringOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or not supported by this version.
    """
    require_supported(message, 'granularity', ['DEPLOYED'])
    require_supported(message, 'initialization', ['KMEANS_PLUS_PLUS'])
    return ClusteringOptions(
        number_of_clusters=require(
            message,
            'number_of_clusters',
            lambda v: MIN_CLUSTERS <= v <= MAX_CLUSTERS,
            f'{MIN_CLUSTERS} to {MAX_CLUSTERS}',
        ),
        preserve_sparsity=message.preserve_sparsity,
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
    )
