"""What to cluster, without what clusters, which imports TensorFlow."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.dense_scales import PER_CHANNEL


@dataclasses.dataclass(frozen=True)
class ClusteringOptions:
    """What to cluster; the fields of `proto.Clustering`, with its defaults filled in."""

    number_of_clusters: int
    preserve_sparsity: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    granularity: str = 'DEPLOYED'
    initialization: str = 'KMEANS_PLUS_PLUS'
    dense_scales: str = PER_CHANNEL
