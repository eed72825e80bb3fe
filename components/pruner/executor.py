"""Pruner's executor."""

from __future__ import annotations

from tfx import types

from tfx_edge import proto
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.pruner.options import PRUNING, pruning_options
from tfx_edge.components.training.training_executor import Technique, TrainingExecutor


class Executor(TrainingExecutor):
    """Writes the incoming model with pruned weights."""

    CONFIGURATION = PRUNING

    def technique(
        self,
        message: proto.Pruning,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
    ) -> Technique:
        """See `TrainingExecutor.technique`."""
        options = pruning_options(message)
        return Technique(lambda graph, tuning, batches: prune(graph, options, tuning, batches))
