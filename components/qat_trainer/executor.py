"""QATTrainer's executor."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components import artifacts, compression_step, exec_properties
from tfx_edge.components.core.calibration.ranges import write_ranges
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    CALIBRATION_BATCHES,
    train_quantization_aware,
)
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions
from tfx_edge.components.qat_trainer import deployed_activations
from tfx_edge.components.qat_trainer.options import qat_options

QAT = 'qat'


class Executor(base_executor.BaseExecutor):
    """Writes the incoming model with weights on the integer grid, and the ranges of its activations."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties_: dict[str, Any],
    ) -> None:
        """See `base_executor.BaseExecutor.Do`."""
        options = qat_options(exec_properties.decode(exec_properties_[QAT], proto.QuantizationAwareTraining))
        ranges: dict[str, tuple[float, float]] = {}
        deployed = deployed_activations.DeployedActivations((), ())
        seen: list[Mapping[str, np.ndarray]] = []

        def train(
            graph: ServingGraph, fine_tuning: FineTuningOptions, batches: compression_step.Batches | None
        ) -> dict[str, np.ndarray]:
            nonlocal deployed
            if batches is not None:
                seen.extend(itertools.islice(batches, CALIBRATION_BATCHES))
                deployed = deployed_activations.deployed_activations(graph, seen[0])
                batches = itertools.chain(seen, batches)
            result = train_quantization_aware(graph, options, fine_tuning, batches, deployed.simulated)
            ranges.update(result.ranges)
            return result.values

        signature_name = compression_step.compress_model(
            input_dict, output_dict, exec_properties_, train, trains_ranges=True
        )
        model = artifact_utils.get_single_instance(output_dict[artifacts.MODEL])
        calibration = artifact_utils.get_single_instance(output_dict[artifacts.CALIBRATION])
        by_name = deployed_activations.calibration_ranges(
            deployed, ranges, path_utils.serving_model_dir(model.uri), signature_name, seen
        )
        fileio.makedirs(calibration.uri)
        write_ranges(os.path.join(calibration.uri, 'calibration.json'), by_name)
