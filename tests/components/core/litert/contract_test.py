"""What was promised is checked on the file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import contract
from tfx_edge.components.core.litert.inspect import ModelSummary, inspect_model
from tfx_edge.components.core.litert.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantize import quantize_model


def _check(
    summary: ModelSummary, floats: ModelSummary, options: QuantizationOptions, **extra: object
) -> None:
    names = {'inputs': ['image'], 'outputs': floats.outputs, **extra}
    contract.check(summary, options, float_summary=floats, **names)  # type: ignore[arg-type]


def test_full_integer_file_passes(digits_float: bytes, digits_ranges: dict) -> None:
    options = QuantizationOptions('INT8', 'INT8')
    summary = inspect_model(quantize_model(digits_float, options, digits_ranges))
    _check(summary, inspect_model(digits_float), options, require_full_integer=True)


def test_float_operator_is_a_warning_or_an_error(
    many_operators: tuple[bytes, dict], observe: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    model, inputs = many_operators
    options = QuantizationOptions('INT8')
    summary = inspect_model(quantize_model(model, options, observe(model, inputs)))
    floats = inspect_model(model)
    with caplog.at_level(logging.WARNING):
        _check(summary, floats, options)
    assert 'LEAKY_RELU' in caplog.text
    with pytest.raises(EdgeError, match=r'1 operators stay float: LEAKY_RELU .*leaky'):
        _check(summary, floats, options, require_full_integer=True)


def test_other_names_or_types_are_an_error(digits_float: bytes, digits_ranges: dict) -> None:
    floats = inspect_model(digits_float)
    with pytest.raises(EdgeError, match=r"has the inputs \['image'\], but the signature \['picture'\]"):
        _check(floats, floats, QuantizationOptions('FLOAT32'), inputs=['picture'])
    with pytest.raises(EdgeError, match=r"'image' .* is float32, expected int8"):
        _check(floats, dataclasses.replace(floats), QuantizationOptions('INT8', 'INT8'))
