"""Clusterer's executor."""

from __future__ import annotations

from tfx import types

from tfx_edge import proto
from tfx_edge.components.clusterer.options import CLUSTERING, clustering_options
from tfx_edge.components.core.compression.clustering import cluster
from tfx_edge.components.training.training_executor import Technique, TrainingExecutor


class Executor(TrainingExecutor):
    """Writes the incoming model with clustered weights."""

    CONFIGURATION = CLUSTERING

    def technique(
        self,
        message: proto.Clustering,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
    ) -> Technique:
        """See `TrainingExecutor.technique`."""
        options = clustering_options(message)
        return Technique(lambda graph, tuning, batches: cluster(graph, options, tuning, batches))
