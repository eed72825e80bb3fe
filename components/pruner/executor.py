"""Pruner's executor."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor

from tfx_edge import proto
from tfx_edge.components import compression_step, exec_properties
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.pruner.options import pruning_options

PRUNING = 'pruning'


class Executor(base_executor.BaseExecutor):
    """Writes the incoming model with pruned weights."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties_: dict[str, Any],
    ) -> None:
        """See `base_executor.BaseExecutor.Do`."""
        message = exec_properties.decode(exec_properties_[PRUNING], proto.Pruning)
        options = pruning_options(message)
        compression_step.compress_model(
            input_dict,
            output_dict,
            exec_properties_,
            lambda graph, fine_tuning, batches: prune(graph, options, fine_tuning, batches),
            saved_model_only=message.saved_model_only,
            field='Pruning.saved_model_only',
        )
