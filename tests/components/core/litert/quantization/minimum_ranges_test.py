"""Whatever the calibration found, the file can hold it and run."""

from __future__ import annotations

import logging

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.kernel_ranges import for_large_biases
from tfx_edge.components.core.litert.quantization.minimum_ranges import widened
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.litert.quantization.quantized_activations import quantized_activations

# What an activation may be off by, from nothing to much more than any kernel makes of its input.
MAGNITUDES = strategies.floats(-12, 3).map(lambda power: 10.0**power) | strategies.just(0.0)


def test_live_ranges_stay_as_they_are(
    digits_float: bytes, digits_ranges: dict, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = quantized_activations(digits_float)
    with caplog.at_level(logging.WARNING):
        found = widened(flatbuffer.read(digits_float), tensors, digits_ranges, 'INT8')
    assert found == {t.name: t.fixed or digits_ranges[t.name] for t in tensors}
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in warned if record.name.startswith('tfx_edge')]


def test_range_is_widened_on_the_side_where_it_lies(digits_float: bytes, digits_ranges: dict) -> None:
    tensors = quantized_activations(digits_float)
    name = tensors[1].name
    for given, side in (((0.0, 1e-12), 1), ((-1e-12, 0.0), 0), ((0.0, 0.0), 1)):
        found = widened(flatbuffer.read(digits_float), tensors, {**digits_ranges, name: given}, 'INT8')[name]
        assert found[1 - side] == 0
        assert 1e-7 < abs(found[side]) < 0.1


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
@pytest.mark.parametrize('given', [(0.0, 0.0), (0.0, 1e-6)])
def test_bias_behind_a_dead_activation_costs_the_kernel_nothing(
    digits_float: bytes, digits_ranges: dict, mode: str, given: tuple[float, float]
) -> None:
    """A state that starts at zero meets the kernel of all later steps."""
    content = flatbuffer.read(digits_float)
    tensors = quantized_activations(digits_float, mode=mode)
    graph = content.subgraphs[0]
    (source,) = {
        flatbuffer.tensor_name(graph.tensors[operator.inputs[0]])
        for operator in graph.operators
        if flatbuffer.operator_name(content, operator) == 'FULLY_CONNECTED'
    } - {flatbuffer.tensor_name(graph.tensors[graph.operators[-2].inputs[0]])}
    found = widened(content, tensors, {**digits_ranges, source: given}, mode)
    assert found[source][1] > given[1]
    statistics = {
        name: {'min': np.array([low]), 'max': np.array([high])} for name, (low, high) in found.items()
    }
    assert not for_large_biases(content, statistics, mode)
    narrow = {**statistics, source: {'min': np.array([0.0]), 'max': np.array([2.0**-20])}}
    assert for_large_biases(content, narrow, mode)


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(data=strategies.data())
def test_file_runs_with_any_ranges(digits_float: bytes, data: strategies.DataObject) -> None:
    mode = data.draw(strategies.sampled_from(['INT8', 'INT4X8', 'INT16X8']))
    tensors = quantized_activations(digits_float, mode=mode)
    ranges = {t.name: (-data.draw(MAGNITUDES), data.draw(MAGNITUDES)) for t in tensors}
    found = widened(flatbuffer.read(digits_float), tensors, ranges, mode)
    for tensor in tensors:
        low, high = tensor.fixed or ranges[tensor.group]
        assert found[tensor.name][0] <= low
        assert found[tensor.name][1] >= high
    file = quantize_model(digits_float, QuantizationOptions(mode, engine='LITERT'), ranges)
    image = np.ones((1, 8, 8, 1), np.float32)
    assert np.isfinite(LiteRTModel(file)({'image': image})['output_0']).all()
