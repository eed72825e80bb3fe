"""QATTrainer's executor."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Mapping

import numpy as np
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components.core.calibration import arithmetic
from tfx_edge.components.core.calibration.ranges import FILE_NAME, write_ranges
from tfx_edge.components.core.calibration.reference import Reference, write_reference
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    CALIBRATION_BATCHES,
    QATOptions,
    QATResult,
    train_quantization_aware,
)
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.examples.outlying_features import outlying_input
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.conversion.float_files import FloatFiles, pass_on
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.post_training import fidelity_report
from tfx_edge.components.core.post_training.compared_file import Bound, make_compared
from tfx_edge.components.core.post_training.float_answers import reference_answers
from tfx_edge.components.core.qat import parity
from tfx_edge.components.core.qat.comparison_batch import comparison_batch
from tfx_edge.components.core.qat.deployment import Deployment, plan_deployment, trained_ranges
from tfx_edge.components.core.qat.held_out_examples import split_held_out
from tfx_edge.components.core.qat.sound_arithmetic import operators_to_keep
from tfx_edge.components.qat_trainer.options import QAT, fidelity_bound, qat_options
from tfx_edge.components.tfx_interface import artifacts, fidelity_properties
from tfx_edge.components.training.training_examples import Batches
from tfx_edge.components.training.training_executor import Technique, TrainingExecutor

_LOG = logging.getLogger(__name__)


class Executor(TrainingExecutor):
    """Writes the incoming model with weights on the integer grid, and the ranges of its activations."""

    CONFIGURATION = QAT

    def technique(
        self,
        message: proto.QuantizationAwareTraining,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
    ) -> Technique:
        """See `TrainingExecutor.technique`."""
        model = artifact_utils.get_single_instance(output_dict[artifacts.MODEL])
        calibration = artifact_utils.get_single_instance(output_dict[artifacts.CALIBRATION])
        training = _Training(
            qat_options(message),
            fidelity_bound(message, examples=bool(input_dict.get(artifacts.EXAMPLES))),
            artifacts.float_files(model),
            parity_by_activation=message.parity_by_activation,
        )

        def write_calibration() -> None:
            with artifacts.written_whole(calibration.uri) as folder:
                training.write_calibration(folder, model)

        return Technique(training.train, write_calibration, training.see_file)


class _Training:
    """One training, and what is known after it."""

    def __init__(
        self, options: QATOptions, bound: Bound, float_files: FloatFiles, *, parity_by_activation: bool
    ) -> None:
        self._options = options
        self._bound = bound
        self._float_files = float_files
        self._parity_by_activation = parity_by_activation
        self._seen: list[Mapping[str, np.ndarray]] = []
        self._held_out: dict[str, np.ndarray] | None = None
        self._reference: Reference | None = None
        self._float_file: bytes | None = None

    def see_file(self, file: bytes) -> None:
        """Keeps the incoming model's float file, by which the deployment is planned."""
        self._float_file = file

    def train(
        self, graph: ServingGraph, fine_tuning: FineTuningOptions, batches: Batches | None
    ) -> dict[str, np.ndarray]:
        """The training function that `compress_model` calls."""
        self._graph, self._output_kind = graph, fine_tuning.output_kind
        if batches is not None:
            self._held_out, batches = split_held_out(batches, list(graph.inputs))
            self._seen = list(itertools.islice(batches, CALIBRATION_BATCHES))
            batches = itertools.chain(self._seen, batches)
            self._reference = reference_answers(
                graph.answers, self._samples, held_out=self._held_out is not None
            )
        self._follows = fine_tuning.loss != 'LABELS' and fine_tuning.functions.loss_fn is None
        self._deployment: Deployment = plan_deployment(
            graph,
            self._options,
            comparison_batch(self._seen, graph.inputs),
            self._float_file,
            self._operators_to_keep,
        )
        self._result: QATResult = train_quantization_aware(
            graph, self._options, fine_tuning, batches, self._deployment.arithmetic
        )
        return self._result.values

    @property
    def _samples(self) -> dict[str, np.ndarray]:
        """The inputs to compare on: held-out ones, or where there are too few examples, those of the first batch."""
        return self._held_out or {name: self._seen[0][name] for name in self._graph.inputs}

    def _operators_to_keep(self, float_model: ModelFile, mode: str) -> tuple[str, ...]:
        if self._reference is None:
            return ()
        return operators_to_keep(
            float_model, mode, self._seen, self._reference, self._bound, self._options.dense_scales
        )

    def write_calibration(self, folder: str, model: types.Artifact) -> None:
        """Writes ranges, arithmetic and, where there were examples, the report of parity, summed up in `model`.

        The float file that the ranges belong to comes with them, so that TFLiteQuantizer need not make it again.
        """
        deployment = self._deployment
        arithmetic.write_arithmetic(
            folder,
            arithmetic.TrainedArithmetic(
                deployment.arithmetic.activation_bits,
                deployment.kept_float,
                deployment.weight_bits,
                self._options.dense_scales,
            ),
        )
        if not self._seen or deployment.fault:
            _LOG.info('no ranges, and no parity report: %s', deployment.fault or 'there are no examples')
            write_ranges(os.path.join(folder, FILE_NAME), {})
            return
        trained, signature = path_utils.serving_model_dir(model.uri), self._graph.signature
        float_model = ModelFile.of(self._float_files.convert(trained, signature))
        pass_on(folder, trained, signature, float_model.data)
        ranges = trained_ranges(deployment, self._result.ranges, float_model, self._seen)
        write_ranges(os.path.join(folder, FILE_NAME), ranges)
        file = self._held_file(folder, model, float_model, ranges)
        report = parity.measure_parity(
            self._graph,
            deployment,
            self._result,
            float_model,
            file,
            self._samples,
            output_kind=self._output_kind,
            held_out=self._held_out is not None,
            per_activation=self._parity_by_activation,
        )
        with fileio.open(os.path.join(folder, parity.FILE_NAME), 'w') as file:
            file.write(parity.to_json(report))
        parity.log_summary(report)
        _describe(model, report)

    def _held_file(
        self,
        folder: str,
        model: types.Artifact,
        float_model: ModelFile,
        ranges: Mapping[str, tuple[float, float]],
    ) -> ModelFile:
        """The file as TFLiteQuantizer will make it, compared with the incoming model."""
        options, reference = self._deployment.options, self._reference
        if reference is None:
            return quantized_file(float_model, options, ranges)
        if not self._follows:
            # A model that was trained to change its answers is compared with its own float file.
            answers = LiteRTModel(float_model.data)(reference.inputs)
            reference = dataclasses.replace(reference, answers=answers)
        write_reference(folder, reference)
        bound = dataclasses.replace(self._bound, repair=False)
        held = run_isolated(make_compared, float_model, options, ranges, reference, bound)
        with fileio.open(os.path.join(folder, fidelity_report.FILE_NAME), 'w') as output:
            output.write(fidelity_report.to_json(held))
        fidelity_properties.report(
            model, held, bound, lambda: outlying_input(self._seen, fidelity_properties.STRETCHED)
        )
        return held.made.file


def _describe(model: types.Artifact, report: parity.Parity) -> None:
    """Puts the report's summary into the artifact's custom properties, for metadata to show."""
    model.set_int_custom_property('tfx_edge_parity_samples', report.samples)
    model.set_float_custom_property('tfx_edge_parity_within_2_steps', report.within_2)
    model.set_float_custom_property('tfx_edge_parity_largest_steps', report.largest)
    model.set_int_custom_property('tfx_edge_not_simulated', len(report.not_simulated))
    if report.agreement is not None:
        model.set_float_custom_property('tfx_edge_parity_agreement', report.agreement)
