"""Which activations become integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.quantization import litert_engine
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.litert.quantization.quantized_activations import quantized_activations


def _named(activations: tuple, part: str) -> object:
    (found,) = [a for a in activations if part in a.name.split(';')[0]]
    return found


def test_every_activation_of_digits_follows_its_own_range_but_softmax(digits_float: bytes) -> None:
    *followers, softmax = quantized_activations(digits_float)
    assert len(followers) == 7
    assert all(a.group == a.name and a.fixed is None for a in followers)
    assert softmax.fixed == (0.0, 255 / 256)


def test_groups_and_fixed_ranges_of_many_operators(many_operators: tuple[bytes, dict]) -> None:
    activations = quantized_activations(many_operators[0])
    concat = _named(activations, '/both')
    for part in ('/add', 'MaxPool', 'AvgPool'):
        assert _named(activations, part).group == concat.name
    assert _named(activations, '/gate').fixed == (0.0, 255 / 256)
    assert _named(activations, '/squash').fixed == (-1.0, 127 / 128)


def test_int16_activations_have_their_own_fixed_ranges(many_operators: tuple[bytes, dict]) -> None:
    activations = quantized_activations(many_operators[0], mode='INT16X8')
    assert _named(activations, 'MaxPool').group == _named(activations, '/both').name
    assert _named(activations, '/gate').fixed == (-1.0, 32767 / 32768)
    assert _named(activations, '/squash').fixed == (-1.0, 32767 / 32768)


def test_integer_input_of_a_float_operator_is_found(digits_float: bytes) -> None:
    first = inspect_model(digits_float).operators[0].output
    for io, names in (('FLOAT', []), ('INT8', ['serving_default_image:0'])):
        activations = quantized_activations(digits_float, keep_float=(f'^{first}$',), io=io)
        assert [a.name for a in activations if 'image' in a.name] == names


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8'])
def test_groups_show_the_parameters_of_the_file(
    many_operators: tuple[bytes, dict], observe: Callable, mode: str
) -> None:
    """The scale of each tensor in the file is that of its group's range, whatever the ranges are."""
    model, inputs = many_operators
    ranges = observe(model, inputs)
    own = {name: litert_engine.entry(*limits) for name, limits in ranges.items()}
    quantized = flatbuffer.read(litert_engine.run(model, QuantizationOptions(mode), [], own))
    scales = {
        flatbuffer.tensor_name(t).removesuffix('_quantized'): t.quantization.scale[0]
        for t in reversed(quantized.subgraphs[0].tensors)
        if flatbuffer.TENSOR_TYPES[t.type] in ('INT8', 'INT16') and t.quantization is not None
    }
    for activation in quantized_activations(model, mode=mode):
        low, high = activation.fixed or ranges[activation.group]
        expected = (np.float32(max(high, 0)) - np.float32(min(low, 0))) / 255
        if mode == 'INT16X8':
            expected = 1 / 32768 if activation.fixed else np.float32(max(high, -low)) / 32767
        np.testing.assert_allclose(scales[activation.name], expected, rtol=1e-6)


def test_operators_that_stay_float_are_found(many_operators: tuple[bytes, dict], observe: Callable) -> None:
    model, inputs = many_operators
    ranges = observe(model, inputs)
    options = QuantizationOptions('INT8', engine='LITERT')
    float_ops = inspect_model(quantize_model(model, options, ranges)).float_ops
    assert [op.name for op in float_ops] == ['LEAKY_RELU']
    assert 'leaky' in float_ops[0].output
