"""No file divides where LiteRT's integer kernel answers wrong: the file itself is asked, for every pair of integers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.litert_engine import run as by_litert_alone
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

Range = tuple[float, float]
# Of numerator, divisor and quotient.
SOUND = (((0.0, 2.0), (0.0, 1.0), (0.0, 7.9)), ((-1.0, 2.0), (0.0, 1.0), (-1.0, 4.0)))
COARSE = (((0.0, 2.0), (0.0, 1.0), (0.0, 17.0)), ((-1.0, 2.0), (0.0, 1.0), (-3.0, 9.0)))


def _division(sign: float) -> bytes:
    """Of 255 quotients; the magnitude of a divisor is one step of int8 or more."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 255), tf.float32, name='x'),
            tf.TensorSpec((None, 255), tf.float32, name='y'),
        ]
    )
    def quotients(x: tf.Tensor, y: tf.Tensor) -> dict[str, tf.Tensor]:
        divisor = tf.maximum(y, 1 / 255)
        return {'quotient': x / (divisor if sign > 0 else sign * divisor)}

    holder = tf.Module()
    holder.quotients = quotients
    converter = tf.lite.TFLiteConverter.from_concrete_functions([quotients.get_concrete_function()], holder)
    return converter.convert()


@pytest.fixture(scope='module')
def division() -> bytes:
    return _division(1.0)


@pytest.mark.parametrize(('numerator', 'divisor', 'quotient'), SOUND)
def test_division_is_an_integer_one_where_its_kernel_is_right_to_half_a_step(
    numerator: Range, divisor: Range, quotient: Range, division: bytes
) -> None:
    file = quantize_model(
        division, QuantizationOptions('INT8'), _ranges(division, numerator, divisor, quotient)
    )
    assert not inspect_model(file).float_ops
    assert _largest_error(file, numerator, quotient) < 0.52


@pytest.mark.parametrize(('numerator', 'divisor', 'quotient'), COARSE)
def test_division_stays_float_where_its_kernel_answers_wrong(
    numerator: Range, divisor: Range, quotient: Range, division: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ranges = _ranges(division, numerator, divisor, quotient)
    options = QuantizationOptions('INT8')
    broken = _by_quantizer_alone(division, ranges)
    assert _largest_error(broken, numerator, quotient) > 20
    file = quantize_model(division, options, ranges)
    assert [op.name.split()[0] for op in inspect_model(file).float_ops] == ['DIV']
    assert _largest_error(file, numerator, quotient) < 0.52
    assert re.search(r"DIV '.+' stays float: in integer steps of its range .+ quotients wrong", caplog.text)


def test_quotients_of_sixteen_bits_are_judged_by_their_own_steps(division: bytes) -> None:
    for quotient, is_float in (((0.0, 4.0), False), ((0.0, 17.0), True)):
        ranges = _ranges(division, (0.0, 2.0), (0.0, 1.0), quotient)
        file = quantize_model(division, QuantizationOptions('INT16X8'), ranges)
        assert ('DIV' in [op.name.split()[0] for op in inspect_model(file).float_ops]) == is_float


def test_a_negative_divisor_changes_the_sign_of_the_numerator() -> None:
    """Minus one has a sign bit more than one: divisors from 0 to 1 are sound in this range."""
    model, quotient = _division(-1.0), (-8.0, 0.0)
    ranges = {**_ranges(model, (0.0, 2.0), (0.0, 1.0), quotient), 'mul': (-1.0, 0.0)}
    broken, file = (
        _by_quantizer_alone(model, ranges),
        quantize_model(model, QuantizationOptions('INT8'), ranges),
    )
    assert [op.name.split()[0] for op in inspect_model(file).float_ops] == ['DIV']
    assert _largest_error(broken, (0.0, 2.0), quotient, -1.0) > 20
    assert _largest_error(file, (0.0, 2.0), quotient, -1.0) < 0.52


def _by_quantizer_alone(model: bytes, ranges: Mapping[str, Range]) -> bytes:
    limits = {name: {'min': np.array([low]), 'max': np.array([high])} for name, (low, high) in ranges.items()}
    return by_litert_alone(ModelFile(model), QuantizationOptions('INT8'), [], limits)


def _ranges(model: bytes, numerator: Range, divisor: Range, quotient: Range) -> Mapping[str, Range]:
    content = ModelFile(model).content
    names = [tensor.name.decode() for tensor in content.subgraphs[0].tensors]
    by_kind = {'x:0': numerator, 'y:0': divisor, 'Maximum': divisor, 'Call:0': quotient}
    return {name: limits for name in names for end, limits in by_kind.items() if name.endswith(end)}


def _largest_error(model: bytes, numerator: Range, quotient: Range, sign: float = 1.0) -> float:
    """In steps of the quotient and within its range, over every numerator and divisor of int8 above 0."""
    file = LiteRTModel(model)
    step = (quotient[1] - quotient[0]) / 255
    lowest = round(quotient[0] / step) * step
    divisors = np.arange(1, 256) / np.float32(255)
    errors = []
    for value in _integers(numerator):
        inputs = {'x': np.full((1, 255), value, np.float32), 'y': divisors[np.newaxis].astype(np.float32)}
        (found,) = file(inputs).values()
        within, exact = (
            np.clip(values, lowest, lowest + 255 * step) for values in (found, value / (sign * divisors))
        )
        errors.append(np.abs(within - exact).max() / step)
    return max(errors)


def _integers(limits: Range) -> Iterator[float]:
    step = (limits[1] - limits[0]) / 255
    below = round(-limits[0] / step)
    return (steps * step for steps in range(-below, 256 - below))
