"""TFLiteQuantizer's executor."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components.core.calibration import arithmetic, ranges, reference
from tfx_edge.components.core.dense_function.choice import choose_signature, describe
from tfx_edge.components.core.devices import look_up_tables
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.isolation.isolated_process import load_ahead, run_isolated
from tfx_edge.components.core.litert.conversion import saved_model_converter
from tfx_edge.components.core.litert.file import metadata
from tfx_edge.components.core.litert.file.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization import file_checks, quantize
from tfx_edge.components.core.litert.quantization.dense_scale_cost import log_dense_scales
from tfx_edge.components.core.litert.quantization.older_runtimes import log_older_runtimes
from tfx_edge.components.core.litert.quantization.spread_codebooks import log_spread_codebooks
from tfx_edge.components.core.litert.sparse import sparse_kernels
from tfx_edge.components.core.log_once import begin_step
from tfx_edge.components.core.post_training import fidelity_report, recipe, sensitivity
from tfx_edge.components.core.signature import Signature
from tfx_edge.components.core.step_time import limited_step_time
from tfx_edge.components.tflite_quantizer.beam_examples import BeamExamples
from tfx_edge.components.tflite_quantizer.labels import with_labels
from tfx_edge.components.tflite_quantizer.options import (
    QUANTIZATION,
    QuantizerOptions,
    as_trained,
    quantizer_options,
    require_inputs,
)
from tfx_edge.components.tfx_interface import artifacts, exec_properties, fidelity_properties
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.keys import SIGNATURE_NAME

SENSITIVITY_FILE = 'sensitivity.json'
# TFMA wants this name, without extension.
_FILE_NAME = 'tflite'

# Description of an input in the metadata.
_TRANSFORMED = 'the feature of this name as Transform makes it'

_LOG = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Converts, calibrates, quantizes, checks, and writes."""

    @limited_step_time()
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties_: dict[str, Any],
    ) -> None:
        """See `base_executor.BaseExecutor.Do`."""
        begin_step()
        if not input_dict.get(artifacts.INPUT_CALIBRATION):
            load_ahead(saved_model_converter.convert_signature)
        options, given = _asked_for(input_dict, exec_properties_)
        if options.for_micro:
            look_up_tables.require_tool()
        source = artifacts.serving_model_path(
            artifact_utils.get_single_instance(input_dict[artifacts.INPUT_MODEL])
        )
        signature = choose_signature(
            source,
            exec_properties_.get(SIGNATURE_NAME) or '',
            transform_graph=artifacts.transform_graph_folder(input_dict),
        )
        model = artifact_utils.get_single_instance(output_dict[artifacts.MODEL])
        calibrations = input_dict.get(artifacts.INPUT_CALIBRATION) or []
        if input_dict.get(artifacts.EXAMPLES):
            # Before the conversion, which takes longer, so that unreadable examples are refused early.
            split_files(input_dict[artifacts.EXAMPLES], options.calibration_splits)
        float_files = artifacts.float_files(model, calibrations)
        float_model = ModelFile.of(float_files.convert(source, signature))
        quantize.require_finite_weights(float_model)
        calibration = artifact_utils.get_single_instance(output_dict[artifacts.CALIBRATION])
        with (
            artifacts.written_whole(path_utils.serving_model_dir(model.uri)) as model_folder,
            artifacts.written_whole(calibration.uri) as calibration_folder,
        ):
            examples = None
            if input_dict.get(artifacts.EXAMPLES):
                examples = BeamExamples(
                    self._make_beam_pipeline, input_dict, options, source, signature, calibration_folder
                )
            made = recipe.follow(
                options.recipe, float_model, examples, given, _handed_reference(calibrations)
            )
            _LOG.info('engine %s: %s', made.engine, made.reason)
            if options.sparse_kernels:
                made = _with_sparse_kernels(model, made)
            cause = examples.outlying if examples is not None and made.ranges else str
            fidelity_properties.report(model, made.held, options.recipe.bound, cause)
            file = metadata.add(made.file, _described(options.metadata, signature, input_dict))
            summary = _check(file, float_model, options, signature)
            log_older_runtimes(file)
            log_dense_scales(made.file, options.recipe.quantization)
            log_spread_codebooks(made.file, float_model)
            _write_calibration(calibration_folder, made)
            with fileio.open(os.path.join(model_folder, _FILE_NAME), 'wb') as output:
                output.write(file)
            if options.for_micro:
                _write_for_micro(model_folder, model, made)
        model.set_string_custom_property(artifacts.DENSE_FUNCTION, describe(signature))
        _write_properties(model, options, made, summary)


def _with_sparse_kernels(model: types.Artifact, made: recipe.Outcome) -> recipe.Outcome:
    """The same with 1x1 kernels stored sparse, where XNNPACK computes with them so."""
    sparse = run_isolated(sparse_kernels.make, made.file)
    if not sparse.obstacle or sparse_kernels.has_pointwise_zeros(made.file):
        sparse_kernels.log(sparse, len(made.file.data))
    model.set_int_custom_property('tfx_edge_sparse_kernels', len(sparse.kernels))
    return dataclasses.replace(made, file=sparse.file)


def _described(
    given: metadata.ModelMetadata, signature: Signature, input_dict: artifacts.ArtifactDict
) -> metadata.ModelMetadata:
    """Describes the inputs that a transform graph makes, where the user does not."""
    if not input_dict.get(artifacts.TRANSFORM_GRAPH):
        return given
    inputs = dict.fromkeys(signature.inputs, _TRANSFORMED)
    return dataclasses.replace(given, inputs={**inputs, **given.inputs})


def _asked_for(
    input_dict: Mapping[str, list[types.Artifact]], properties: Mapping[str, Any]
) -> tuple[QuantizerOptions, dict[str, tuple[float, float]] | None]:
    """The options, with the arithmetic that the calibration was trained for, if any; and the given ranges."""
    message = exec_properties.decode(properties[QUANTIZATION], proto.Quantization)
    options = quantizer_options(with_labels(message))
    has_calibration = bool(input_dict.get(artifacts.INPUT_CALIBRATION))
    require_inputs(options, examples=bool(input_dict.get(artifacts.EXAMPLES)), calibration=has_calibration)
    if not has_calibration:
        return options, None
    folder = artifact_utils.get_single_instance(input_dict[artifacts.INPUT_CALIBRATION]).uri
    trained = as_trained(options.recipe, arithmetic.read_arithmetic(folder))
    given = ranges.read_ranges(os.path.join(folder, ranges.FILE_NAME))
    return dataclasses.replace(options, recipe=trained), given


def _handed_reference(calibrations: list[types.Artifact]) -> reference.Reference | None:
    """The float model's answers that came with the ranges."""
    return reference.read_reference(calibrations[0].uri) if calibrations else None


def _check(
    file: bytes, float_model: ModelFile, options: QuantizerOptions, signature: Signature
) -> ModelSummary:
    summary = inspect_model(file)
    file_checks.check(
        summary,
        options.recipe.quantization,
        inputs=signature.inputs,
        outputs=signature.outputs,
        float_summary=inspect_model(float_model),
        require_full_integer=options.require_full_integer,
    )
    return summary


def _write_calibration(folder: str, made: recipe.Outcome) -> None:
    ranges.write_ranges(os.path.join(folder, ranges.FILE_NAME), made.ranges)
    if made.reference is not None:
        reference.write_reference(folder, made.reference)
    if made.held is not None:
        with fileio.open(os.path.join(folder, fidelity_report.FILE_NAME), 'w') as file:
            file.write(fidelity_report.to_json(made.held))
    if made.sensitivities:
        with fileio.open(os.path.join(folder, SENSITIVITY_FILE), 'w') as file:
            operators = json.loads(sensitivity.to_json(made.sensitivities))
            content = {'format_version': 1, 'kept_float': list(made.kept_float), 'operators': operators}
            file.write(json.dumps(content, indent=1) + '\n')


def _write_for_micro(folder: str, model: types.Artifact, made: recipe.Outcome) -> None:
    """Writes the second file; TensorFlow Lite Micro takes no metadata, so it is made of the file before that."""
    if made.reference is None:
        raise EdgeError(
            'Quantization.for_micro is proved on examples, and there are none: the calibration brings none, or the '
            "model's answers are random; give examples, or leave for_micro unset."
        )
    micro = run_isolated(look_up_tables.make, made.file, dict(made.reference.inputs))
    look_up_tables.log(micro, len(made.file.data))
    with fileio.open(os.path.join(folder, look_up_tables.FILE_NAME), 'wb') as output:
        output.write(micro.data)
    model.set_int_custom_property('tfx_edge_micro_file_bytes', len(micro.data))


def _write_properties(
    model: types.Artifact, options: QuantizerOptions, made: recipe.Outcome, summary: ModelSummary
) -> None:
    mode = options.recipe.quantization.mode
    model.set_string_custom_property('tfx_edge_mode', mode)
    model.set_string_custom_property('tfx_edge_engine', made.engine)
    model.set_int_custom_property('tfx_edge_float_operators', len(summary.float_ops))
    model.set_int_custom_property('tfx_edge_file_bytes', summary.file_bytes)
    _LOG.info(
        'wrote the %s file: %d bytes, %d float operators', mode, summary.file_bytes, len(summary.float_ops)
    )
