"""TFLiteQuantizer's executor."""

from __future__ import annotations

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
from tfx_edge.components import artifacts, exec_properties
from tfx_edge.components.core.calibration import pipeline, ranges
from tfx_edge.components.core.examples import ExampleParser
from tfx_edge.components.core.litert import contract, quantize
from tfx_edge.components.core.litert.convert import convert_saved_model
from tfx_edge.components.core.litert.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.signature import Signature, choose_signature
from tfx_edge.components.tflite_quantizer.options import QuantizerOptions, quantizer_options, require_ranges

QUANTIZATION = 'quantization'
SIGNATURE_NAME = 'signature_name'
# TFMA wants this name, without extension.
_FILE_NAME = 'tflite'

_LOG = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Converts, calibrates, quantizes, checks, and writes."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties_: dict[str, Any],
    ) -> None:
        """See `base_executor.BaseExecutor.Do`."""
        options = quantizer_options(
            exec_properties.decode(exec_properties_[QUANTIZATION], proto.Quantization)
        )
        given = input_dict.get(artifacts.EXAMPLES) or input_dict.get(artifacts.INPUT_CALIBRATION)
        require_ranges(options, given=bool(given))
        source = artifacts.serving_model_path(
            artifact_utils.get_single_instance(input_dict[artifacts.INPUT_MODEL])
        )
        signature = choose_signature(source, exec_properties_.get(SIGNATURE_NAME) or '')
        float_model = convert_saved_model(source, signature.name)
        quantize.require_finite_weights(float_model)
        model = artifact_utils.get_single_instance(output_dict[artifacts.MODEL])
        calibration = artifact_utils.get_single_instance(output_dict[artifacts.CALIBRATION])
        with (
            artifacts.written_whole(path_utils.serving_model_dir(model.uri)) as model_folder,
            artifacts.written_whole(calibration.uri) as calibration_folder,
        ):
            used: Mapping[str, tuple[float, float]] = {}
            if options.quantization.needs_ranges:
                used = self._ranges(input_dict, options, signature, float_model, calibration_folder)
            quantized = quantize.quantize_model(float_model, options.quantization, used)
            summary = inspect_model(quantized)
            contract.check(
                summary,
                options.quantization,
                inputs=signature.inputs,
                outputs=signature.outputs,
                float_summary=inspect_model(float_model),
                require_full_integer=options.require_full_integer,
            )
            ranges.write_ranges(os.path.join(calibration_folder, ranges.FILE_NAME), used)
            with fileio.open(os.path.join(model_folder, _FILE_NAME), 'wb') as file:
                file.write(quantized)
        _tell(model, options, summary)

    def _ranges(
        self,
        input_dict: Mapping[str, list[types.Artifact]],
        options: QuantizerOptions,
        signature: Signature,
        float_model: bytes,
        folder: str,
    ) -> dict[str, tuple[float, float]]:
        """The given ranges; those of the examples for what is not given."""
        given: dict[str, tuple[float, float]] = {}
        if input_dict.get(artifacts.INPUT_CALIBRATION):
            calibration = artifact_utils.get_single_instance(input_dict[artifacts.INPUT_CALIBRATION])
            given = ranges.read_ranges(os.path.join(calibration.uri, ranges.FILE_NAME))
            missing = quantize.missing_ranges(float_model, options.quantization, given)
            if not missing or not input_dict.get(artifacts.EXAMPLES):
                return given
            _LOG.info('the calibration lacks %d ranges; calibrating these on the examples', len(missing))
        parser = ExampleParser(
            signature.inputs,
            schema=artifacts.read_schema(input_dict),
            transform_graph=artifacts.transform_graph_folder(input_dict),
        )
        files = artifacts.split_files(input_dict[artifacts.EXAMPLES], options.calibration_splits)
        # Beside the output, where remote workers can read and write; gone before it takes its name.
        work = os.path.join(folder, 'work')
        fileio.makedirs(work)
        with fileio.open(os.path.join(work, 'float.tflite'), 'wb') as file:
            file.write(float_model)
        calibrated = pipeline.calibrate(
            self._make_beam_pipeline,
            files=files,
            parser=parser,
            float_model_path=os.path.join(work, 'float.tflite'),
            result_path=os.path.join(work, 'statistics.json'),
            max_examples=options.max_calibration_examples,
        )
        fileio.rmtree(work)
        return {**calibrated, **given}


def _tell(model: types.Artifact, options: QuantizerOptions, summary: ModelSummary) -> None:
    model.set_string_custom_property('tfx_edge_mode', options.quantization.mode)
    model.set_int_custom_property('tfx_edge_float_operators', len(summary.float_ops))
    model.set_int_custom_property('tfx_edge_file_bytes', summary.file_bytes)
    _LOG.info(
        'wrote the %s file: %d bytes, %d float operators',
        options.quantization.mode,
        summary.file_bytes,
        len(summary.float_ops),
    )
