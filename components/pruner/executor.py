"""Pruner's executor."""

from __future__ import annotations

import logging

from tfx import types

from tfx_edge import proto
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.pruner.options import PRUNING, pruning_options
from tfx_edge.components.training.training_executor import Technique, TrainingExecutor

_LOG = logging.getLogger(__name__)


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
        return Technique(
            lambda graph, tuning, batches: prune(graph, options, tuning, batches),
            see_file=_warn_of_dense_kernels if options.policy == 'XNNPACK' else None,
        )


def _warn_of_dense_kernels(float_model: bytes) -> None:
    """Says, before anything is trained, where the zeros will make nothing faster."""
    from tfx_edge.components.core.litert.file.model_file import (
        ModelFile,  # its format takes a second to import
    )
    from tfx_edge.components.core.litert.sparse.net import Net
    from tfx_edge.components.core.litert.sparse.xnnpack_pattern import sparse_part

    obstacle = sparse_part(Net(ModelFile.of(float_model).content)).obstacle
    if obstacle:
        _LOG.warning(
            'policy XNNPACK: XNNPACK will compute dense, however many weights are zero, and TFLiteQuantizer will store '
            'the kernels dense: %s.',
            obstacle,
        )
