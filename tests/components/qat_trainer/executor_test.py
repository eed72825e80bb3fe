"""QATTrainer's executor on real artifacts: what it writes beside the weights."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any

import numpy as np
import pytest
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components import QATTrainer
from tfx_edge.components.core.calibration.arithmetic import read_arithmetic
from tfx_edge.components.core.calibration.ranges import read_ranges
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model
from tfx_edge.components.tfx_interface import artifact_types

pytestmark = pytest.mark.slow


def _run(model: Any, examples: Any, folder: pathlib.Path, **config: Any) -> tuple[Any, pathlib.Path]:
    """The Model that results, and the folder of the calibration."""
    made = QATTrainer(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        **config,
    )
    output, calibration = standard_artifacts.Model(), artifact_types.Calibration()
    # As on Kubeflow, where no folder keeps float files for other steps.
    output.uri, calibration.uri = str(folder / 'model'), str(folder / 'calibration')
    output.set_string_custom_property('tfx_version', '1.16.0')
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    inputs = {'input_model': [model], 'examples': [examples]}
    outputs = {'model': [output], 'calibration': [calibration]}
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))
    return output, folder / 'calibration'


@pytest.mark.parametrize('how', ['override', 'exclude'])
def test_what_stays_float_is_reported_to_the_quantizer(
    model_artifact: Any,
    examples_artifact: Any,
    digits: dict[str, np.ndarray],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    if how == 'override':
        qat = proto.QuantizationAwareTraining(
            overrides=[{'pattern': '/dense_1/kernel', 'float': True}], parity_by_activation=True
        )
    else:
        qat = proto.QuantizationAwareTraining(exclude=['/dense_1/kernel'])
    with caplog.at_level(logging.INFO):
        model, calibration = _run(
            model_artifact, examples_artifact, tmp_path, qat=qat, fine_tuning=proto.FineTuning(num_steps=40)
        )
    converted = [message for message in caplog.messages if message.startswith('converting signature')]
    assert len(converted) == 2, 'the incoming model and the trained one'
    arithmetic = read_arithmetic(str(calibration))
    assert arithmetic is not None
    assert len(arithmetic.kept_float) == 1
    assert set(arithmetic.weight_bits.values()) == {8}
    float_model = convert_saved_model(path_utils.serving_model_dir(model.uri), 'serving_default')
    options = QuantizationOptions(keep_float=arithmetic.kept_float)
    file = quantize_model(float_model, options, read_ranges(str(calibration / 'calibration.json')))
    assert 'FULLY_CONNECTED' in {operator.name for operator in inspect_model(file).float_ops}
    (output,) = LiteRTModel(file)({'image': digits['x_eval']}).values()
    assert np.mean(output.argmax(1) == digits['y_eval']) > 0.9
    report = json.loads((calibration / 'parity.json').read_text())
    assert report['format_version'] == 1
    assert report['held_out']
    assert report['samples'] > 50
    assert len(report['float_weights']) == 1
    assert bool(report['activations']) == (how == 'override')
    assert all(activation['within_2'] >= 0.999 for activation in report['activations'])
    (parity,) = report['outputs']
    assert parity['within_2'] >= 0.999
    assert parity['agreement'] >= 0.98
    assert model.get_float_custom_property('tfx_edge_parity_within_2_steps') == pytest.approx(
        parity['within_2']
    )
    assert model.get_int_custom_property('tfx_edge_parity_samples') == report['samples']
    assert 'simulation against the file on' in caplog.text
