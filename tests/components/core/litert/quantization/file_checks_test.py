"""What was promised is checked on the file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.quantization import file_checks
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model


def _check(
    summary: ModelSummary, floats: ModelSummary, options: QuantizationOptions, **extra: object
) -> None:
    names = {'inputs': ['image'], 'outputs': floats.outputs, **extra}
    file_checks.check(summary, options, float_summary=floats, **names)  # type: ignore[arg-type]


def test_full_integer_file_passes(digits_float: bytes, digits_ranges: dict) -> None:
    options = QuantizationOptions('INT8', 'INT8')
    summary = inspect_model(quantize_model(digits_float, options, digits_ranges))
    assert summary.integer_coverage == 1
    _check(summary, inspect_model(digits_float), options, require_full_integer=True)


def test_float_operator_is_a_warning_or_an_error(
    many_operators: tuple[bytes, dict], observe: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    model, inputs = many_operators
    options = QuantizationOptions('INT8', engine='LITERT')
    summary = inspect_model(quantize_model(model, options, observe(model, inputs)))
    floats = inspect_model(model)
    with caplog.at_level(logging.INFO):
        _check(summary, floats, options)
    assert '1 operators stay float: LEAKY_RELU' in caplog.text
    assert f'{100 * summary.integer_coverage:.1f} % of the operators compute in integers' in caplog.text
    with pytest.raises(EdgeError, match=r'1 operators stay float: LEAKY_RELU .*leaky'):
        _check(summary, floats, options, require_full_integer=True)


def test_other_names_or_types_are_an_error(digits_float: bytes, digits_ranges: dict) -> None:
    floats = inspect_model(digits_float)
    with pytest.raises(EdgeError, match=r"has the inputs \['image'\], but the signature \['picture'\]"):
        _check(floats, floats, QuantizationOptions('FLOAT32'), inputs=['picture'])
    with pytest.raises(EdgeError, match=r"'image' .* is float32, expected int8"):
        _check(floats, dataclasses.replace(floats), QuantizationOptions('INT8', 'INT8'))


@pytest.mark.parametrize('mode', ['DYNAMIC_INT8', 'DYNAMIC_INT4', 'FLOAT16'])
def test_no_integers_are_promised_where_activations_are_float(
    digits_float: bytes, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = QuantizationOptions(mode)
    with caplog.at_level(logging.INFO):
        _check(inspect_model(quantize_model(digits_float, options)), inspect_model(digits_float), options)
    assert 'operators' not in caplog.text


@pytest.mark.parametrize(
    ('made', 'promised', 'message'),
    [
        ('INT8', 'INT4X8', r'of a CONV_2D is INT8, but mode INT4X8 promises INT4'),
        ('INT4X8', 'INT8', r'of a CONV_2D is INT4, but mode INT8 promises INT8'),
        ('DYNAMIC_INT8', 'FLOAT16', r'of a CONV_2D is INT8, but mode FLOAT16 promises FLOAT16'),
    ],
)
def test_kernels_of_another_width_are_an_error(
    digits_float: bytes, digits_ranges: dict, made: str, promised: str, message: str
) -> None:
    file = quantize_model(digits_float, QuantizationOptions(made), digits_ranges)
    file_checks.check_file(file, digits_float, QuantizationOptions(made))
    with pytest.raises(EdgeError, match=message):
        file_checks.check_file(file, digits_float, QuantizationOptions(promised))


def test_file_that_does_not_run_is_an_error(digits_float: bytes, digits_ranges: dict) -> None:
    """A scale so small that XNNPACK refuses the file."""
    options = QuantizationOptions('INT8')
    content = flatbuffer.read(quantize_model(digits_float, options, digits_ranges))
    for tensor in content.subgraphs[0].tensors:
        if flatbuffer.tensor_name(tensor).endswith('Relu') and tensor.quantization is not None:
            tensor.quantization.scale = np.array([1e-12], np.float32)
    with pytest.raises(EdgeError, match=r'the INT8 file does not run though the float file does .*XNNPACK'):
        file_checks.check_file(flatbuffer.write(content), digits_float, options)


def test_foreign_tensors_and_signatures_are_an_error(digits_float: bytes, digits_ranges: dict) -> None:
    options = QuantizationOptions('INT8')
    file = quantize_model(digits_float, options, digits_ranges)
    content = flatbuffer.read(file)
    content.subgraphs[0].tensors[content.subgraphs[0].operators[1].outputs[0]].name = b'tfl.pseudo'
    with pytest.raises(EdgeError, match=r"computes a tensor 'tfl.pseudo' that the float file lacks"):
        file_checks.check_file(flatbuffer.write(content), digits_float, options)
    content = flatbuffer.read(file)
    content.signatureDefs[0].signatureKey = b'other'
    with pytest.raises(EdgeError, match=r"signature of the INT8 file is 'other', expected 'serving_default'"):
        file_checks.check_file(flatbuffer.write(content), digits_float, options)
