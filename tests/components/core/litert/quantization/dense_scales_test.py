"""One scale for each dense kernel: what the file holds, what that saves, and codebooks made for other scales."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tfx_edge.components.core.dense_scales import PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization import file_checks
from tfx_edge.components.core.litert.quantization.dense_scale_cost import dense_scale_cost, log_dense_scales
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.litert.quantization.spread_codebooks import (
    log_spread_codebooks,
    spread_codebooks,
)

Ranges = Mapping[str, tuple[float, float]]
# Of `digits`: 32 inputs and 32 units, then 10 units.
HIDDEN, ANSWER = (32, 32), (10, 32)
MADE = [
    ('INT8', 'LITERT'),
    ('INT8', 'CONVERTER'),
    ('INT16X8', 'LITERT'),
    ('INT16X8', 'CONVERTER'),
    ('INT4X8', 'LITERT'),
    ('DYNAMIC_INT8', 'LITERT'),
    ('DYNAMIC_INT4', 'LITERT'),
]


def _kernels(file: bytes) -> dict[str, tuple[np.ndarray, list[float]]]:
    """Values and scales by name."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    found = {}
    for index in kernel_indices(content, graph):
        values = flatbuffer.constant(content, graph.tensors[index])
        assert values is not None
        quantization = graph.tensors[index].quantization
        scales = [] if quantization is None or quantization.scale is None else list(quantization.scale)
        found[flatbuffer.tensor_name(graph.tensors[index])] = values, scales
    return found


def _with_dense(file: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The float file with `change(kernel)` in place of each dense kernel."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    for index in kernel_indices(content, graph):
        values = flatbuffer.constant(content, graph.tensors[index])
        assert values is not None
        if values.ndim == 2:
            changed = change(values.copy()).astype(np.float32).tobytes()
            content.buffers[graph.tensors[index].buffer].data = np.frombuffer(changed, np.uint8)
    return flatbuffer.write(content)


def _bias_of_hidden(file: bytes) -> tuple[np.ndarray, float]:
    """Values and the one scale of the bias behind the first dense kernel."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    for operator in graph.operators:
        if len(operator.inputs) == 3 and tuple(graph.tensors[operator.inputs[1]].shape) == HIDDEN:
            tensor = graph.tensors[operator.inputs[2]]
            values = flatbuffer.constant(content, tensor)
            assert values is not None
            scales = tensor.quantization.scale if tensor.quantization is not None else None
            return values, 1.0 if scales is None else float(scales[0])
    raise AssertionError('no such layer')


def _clustered(scales: str) -> Callable[[np.ndarray], np.ndarray]:
    """Kernels of five integers, times one scale or one for each unit."""

    def change(kernel: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(0)
        integers = random.choice([-127, -60, 0, 31, 127], kernel.shape)
        if scales == PER_TENSOR:
            # Units without the largest member, to which a scale of their own would give other integers.
            integers[1::2] = np.where(np.abs(integers[1::2]) == 127, 0, integers[1::2])
            return integers * 0.002
        integers[:, 0] = 127
        return integers * random.uniform(0.001, 0.004, (len(kernel), 1))

    return change


@pytest.mark.parametrize(('mode', 'engine'), MADE)
def test_dense_kernels_have_one_scale_and_all_others_one_for_each_channel(
    digits_float: bytes, digits_ranges: Ranges, digits: dict[str, np.ndarray], mode: str, engine: str
) -> None:
    options = QuantizationOptions(mode, engine=engine, dense_scales=PER_TENSOR)
    file = quantize_model(digits_float, options, digits_ranges)
    floats = _kernels(digits_float)
    for name, (integers, scales) in _kernels(file).items():
        kernel = floats[name][0]
        if kernel.ndim != 2:
            assert len(scales) > 1
            continue
        steps = 7 if '4' in mode else 127
        assert scales == [np.abs(kernel).max() / np.float32(steps)]
        np.testing.assert_array_equal(integers, np.round(kernel / np.float32(scales[0])))
    (output,) = LiteRTModel(file)({'image': digits['x_eval']}).values()
    # Seven steps from 0 to the largest weight of all units are few.
    assert np.mean(output.argmax(1) == digits['y_eval']) > (0.8 if '4' in mode else 0.9)
    assert quantize_model(digits_float, options, digits_ranges) == file


@pytest.mark.parametrize('mode', ['INT8', 'INT4X8', 'DYNAMIC_INT8'])
def test_what_the_scales_cost_is_what_the_other_file_saves(
    digits_float: bytes, digits_ranges: Ranges, mode: str
) -> None:
    file = quantize_model(digits_float, QuantizationOptions(mode, engine='LITERT'), digits_ranges)
    other = quantize_model(digits_float, QuantizationOptions(mode, dense_scales=PER_TENSOR), digits_ranges)
    cost = dense_scale_cost(file)
    assert cost is not None
    assert cost.layers == 2
    # Rounded up to what the format aligns.
    assert abs(cost.saved_bytes - (len(file) - len(other))) <= 16
    assert cost.saved_bytes > (HIDDEN[0] + ANSWER[0] - 2) * (12 if mode == 'DYNAMIC_INT8' else 24) - 32
    assert 1.0 < cost.error_ratio < 4.0
    assert dense_scale_cost(other) is None


def test_log_says_what_scales_cost_where_it_is_much(
    digits_float: bytes, digits_ranges: Ranges, caplog: pytest.LogCaptureFixture
) -> None:
    for dense_scales, said in ((PER_CHANNEL, True), (PER_TENSOR, False)):
        caplog.clear()
        options = QuantizationOptions('INT8', engine='LITERT', dense_scales=dense_scales)
        file = quantize_model(digits_float, options, digits_ranges)
        with caplog.at_level(logging.INFO):
            log_dense_scales(file, options)
        assert ('the scales of 2 dense layers, one for each unit, take' in caplog.text) == said


def test_one_scale_that_was_not_asked_for_is_named(
    digits_float: bytes, digits_ranges: Ranges, caplog: pytest.LogCaptureFixture
) -> None:
    """TensorFlow 2.16's converter makes such a file by default."""
    file = quantize_model(digits_float, QuantizationOptions('INT8', dense_scales=PER_TENSOR), digits_ranges)
    with caplog.at_level(logging.INFO):
        log_dense_scales(file, QuantizationOptions('INT8'))
    assert '2 dense layers have one scale each, though dense_scales is PER_CHANNEL' in caplog.text


def test_file_with_more_scales_than_promised_is_refused(digits_float: bytes, digits_ranges: Ranges) -> None:
    file = quantize_model(digits_float, QuantizationOptions('INT8', engine='LITERT'), digits_ranges)
    with pytest.raises(EdgeError, match=r'has \d+ scales, but dense_scales PER_TENSOR promises one'):
        file_checks.check_file(file, digits_float, QuantizationOptions('INT8', dense_scales=PER_TENSOR))


def test_unknown_scales_are_refused(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match="dense_scales is 'NONE'; expected one of PER_CHANNEL, PER_TENSOR"):
        quantize_model(digits_float, QuantizationOptions('DYNAMIC_INT8', dense_scales='NONE'))


def test_bias_of_a_layer_whose_weights_are_tiny_is_kept(
    digits_float: bytes, observe: Callable, digits: dict[str, np.ndarray]
) -> None:
    """The one scale is widened until the largest bias fits into int32."""

    def tiny(kernel: np.ndarray) -> np.ndarray:
        return kernel * 1e-12 if kernel.shape == HIDDEN else kernel

    changed = _with_dense(digits_float, tiny)
    ranges = observe(changed, {'image': digits['x_train'][:64]})
    file = quantize_model(changed, QuantizationOptions('INT8', dense_scales=PER_TENSOR), ranges)
    (expected, _), (stored, scale) = (_bias_of_hidden(model) for model in (changed, file))
    np.testing.assert_allclose(stored * scale, expected, atol=0.51 * scale)
    # What accumulates on the bias needs room too.
    assert np.abs(stored.astype(np.int64)).max() <= 2**30


@pytest.mark.parametrize('clustered', [PER_CHANNEL, PER_TENSOR])
@pytest.mark.parametrize('asked', [PER_CHANNEL, PER_TENSOR])
def test_clusters_made_for_other_scales_are_named(
    digits_float: bytes,
    digits_ranges: Ranges,
    caplog: pytest.LogCaptureFixture,
    clustered: str,
    asked: str,
) -> None:
    floats = _with_dense(digits_float, _clustered(clustered))
    file = quantize_model(
        floats, QuantizationOptions('INT8', engine='LITERT', dense_scales=asked), digits_ranges
    )
    found = spread_codebooks(file, floats)
    log_spread_codebooks(file, floats)
    distinct = {kernel.distinct for kernel in inspect_model(file).kernels if len(kernel.shape) == 2}
    if asked == clustered:
        assert distinct == {5}
        assert not found
        assert 'was clustered for' not in caplog.text
        return
    assert {clusters for clusters, _, _ in found.values()} == {5}
    assert {integers for _, integers, _ in found.values()} == distinct
    assert {scales for _, _, scales in found.values()} == {asked}
    other = 'a scale of each unit' if clustered == PER_CHANNEL else 'one scale'
    assert caplog.text.count(f'was clustered for {other}') == 2


def test_kernels_that_were_not_clustered_are_not_named(digits_float: bytes, digits_ranges: Ranges) -> None:
    for asked in (PER_CHANNEL, PER_TENSOR):
        file = quantize_model(
            digits_float, QuantizationOptions('INT8', engine='LITERT', dense_scales=asked), digits_ranges
        )
        assert not spread_codebooks(file, digits_float)
