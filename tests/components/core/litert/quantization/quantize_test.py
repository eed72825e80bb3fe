"""Quantized files: weights on their grid, promised types, refusals."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import (
    make_file,
    missing_ranges,
    quantize_model,
    require_finite_weights,
)

INT8 = QuantizationOptions('INT8')


def _kernels(file: bytes) -> dict[str, tuple[np.ndarray, np.ndarray | None, int]]:
    """Values, scales and channel axis by name."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    kernels = {}
    for index in kernel_indices(content, graph):
        tensor = graph.tensors[index]
        quantization = tensor.quantization
        scales = None if quantization is None or quantization.scale is None else np.array(quantization.scale)
        axis = quantization.quantizedDimension if quantization is not None else 0
        kernels[flatbuffer.tensor_name(tensor)] = flatbuffer.constant(content, tensor), scales, axis
    return kernels


def _biases(file: bytes) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Values and scales by name."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    biases = {}
    for operator in graph.operators:
        if len(operator.inputs) == 3 and operator.inputs[2] >= 0:
            tensor = graph.tensors[operator.inputs[2]]
            quantized = tensor.quantization is not None and tensor.quantization.scale is not None
            values = flatbuffer.constant(content, tensor)
            assert values is not None
            scales = np.array(tensor.quantization.scale) if quantized else None
            biases[flatbuffer.tensor_name(tensor)] = values, scales
    return biases


def _with_kernels(file: bytes, change: object) -> bytes:
    """The float file with `change(name, kernel)` in place of each kernel."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    for index in kernel_indices(content, graph):
        tensor = graph.tensors[index]
        kernel = flatbuffer.constant(content, tensor).copy()
        changed = change(flatbuffer.tensor_name(tensor), kernel)
        content.buffers[tensor.buffer].data = np.frombuffer(changed.astype(np.float32).tobytes(), np.uint8)
    return flatbuffer.write(content)


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8', 'DYNAMIC_INT8', 'DYNAMIC_INT4'])
def test_kernels_are_symmetric_per_channel_and_narrow(
    digits_float: bytes, digits_ranges: dict, mode: str
) -> None:
    floats = _kernels(digits_float)
    quantized = _kernels(quantize_model(digits_float, QuantizationOptions(mode), digits_ranges))
    assert len(quantized) == 5
    for name, (integers, scales, axis) in quantized.items():
        kernel = floats[name][0]
        others = tuple(i for i in range(kernel.ndim) if i != axis)
        # The depthwise kernel, whose channels come last, has no 4-bit kernel in LiteRT.
        steps = 7 if '4' in mode and axis == 0 else 127
        expected = np.max(np.abs(kernel), axis=others) / np.float32(steps)
        assert scales is not None
        np.testing.assert_array_equal(scales, expected)
        shaped = scales.reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
        np.testing.assert_array_equal(integers, np.round(kernel / shaped))
        assert integers.min() >= -steps


def test_weights_on_the_grid_survive_exactly(digits_float: bytes, digits_ranges: dict) -> None:
    """What QAT leaves behind: integers times a scale, where each channel uses 127 or -127."""
    rng = np.random.default_rng(3)
    drawn: dict[str, np.ndarray] = {}

    def on_grid(name: str, kernel: np.ndarray) -> np.ndarray:
        integers = rng.integers(-16, 17, kernel.shape) * 7
        axis = kernel.ndim - 1 if kernel.shape[0] == 1 and kernel.ndim == 4 else 0
        first = tuple(slice(None) if i == axis else 0 for i in range(kernel.ndim))
        integers[first] = rng.choice([-127, 127], kernel.shape[axis])
        drawn[name] = integers
        shape = [-1 if i == axis else 1 for i in range(kernel.ndim)]
        scales = rng.uniform(1e-4, 0.3, kernel.shape[axis]).astype(np.float32).reshape(shape)
        return integers.astype(np.float32) * scales

    file = quantize_model(_with_kernels(digits_float, on_grid), INT8, digits_ranges)
    for name, (integers, _, _) in _kernels(file).items():
        np.testing.assert_array_equal(integers, drawn[name])


def test_zeros_and_clusters_are_counted_in_the_file(digits_float: bytes, digits_ranges: dict) -> None:
    def three_values(name: str, kernel: np.ndarray) -> np.ndarray:
        return np.where(np.arange(kernel.size).reshape(kernel.shape) % 2 == 0, 0.0, np.sign(kernel))

    summary = inspect_model(quantize_model(_with_kernels(digits_float, three_values), INT8, digits_ranges))
    assert summary.kernel_zeros == pytest.approx(0.5, abs=0.001)
    assert summary.kernel_max_distinct == 3
    assert {kernel.dtype for kernel in summary.kernels} == {'int8'}


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8'])
def test_bias_of_a_channel_without_weights_is_kept(
    digits_float: bytes, observe: Callable, digits: dict[str, np.ndarray], mode: str
) -> None:
    """The bias step of an all-zero or tiny channel would not hold its bias in int32."""

    def switched_off(name: str, kernel: np.ndarray) -> np.ndarray:
        if kernel.shape == (32, 32):
            kernel[:16] = 0
            kernel[16:20] *= 1e-9
        return kernel

    changed = _with_kernels(digits_float, switched_off)
    ranges = observe(changed, {'image': digits['x_train'][:256]})
    file = quantize_model(changed, QuantizationOptions(mode), ranges)
    expected, stored = _biases(changed), _biases(file)
    assert set(stored) == set(expected)
    for name, (bias, _) in expected.items():
        integers, scales = stored[name]
        assert scales is not None
        assert np.all(np.abs(integers * scales.astype(np.float64) - bias) <= 0.51 * scales + 1e-6)
    answered, wanted = (LiteRTModel(m)({'image': digits['x_eval']})['output_0'] for m in (file, changed))
    assert np.abs(answered - wanted).mean() < (0.05 if mode == 'INT4X8' else 0.02)


@pytest.mark.parametrize(
    ('mode', 'io', 'share'),
    [
        ('INT8', 'FLOAT', 0.55),
        ('INT8', 'INT8', 0.55),
        ('INT8', 'UINT8', 0.55),
        ('INT16X8', 'FLOAT', 0.55),
        ('INT4X8', 'FLOAT', 0.45),
        ('INT4X8', 'UINT8', 0.45),
        ('DYNAMIC_INT8', 'FLOAT', 0.55),
        ('DYNAMIC_INT4', 'FLOAT', 0.4),
        ('FLOAT16', 'FLOAT', 0.65),
        ('FLOAT32', 'FLOAT', 1.0),
    ],
)
def test_each_mode_is_small_deterministic_and_right(
    digits_float: bytes, digits_ranges: dict, digits: dict[str, np.ndarray], mode: str, io: str, share: float
) -> None:
    options = QuantizationOptions(mode, io)
    given = dict(digits_ranges)
    file = quantize_model(digits_float, options, given)
    assert file == quantize_model(digits_float, options, digits_ranges)
    assert given == digits_ranges
    assert len(file) <= share * len(digits_float)
    summary = inspect_model(file)
    dtype = {'FLOAT': 'float32', 'INT8': 'int8', 'UINT8': 'uint8'}[io]
    assert summary.inputs == {'image': dtype}
    assert summary.outputs == {'output_0': dtype}
    assert (not summary.float_ops) == options.needs_ranges
    answered = LiteRTModel(file)({'image': digits['x_eval']})['output_0']
    assert np.mean(answered.argmax(1) == digits['y_eval']) > (0.8 if '4' in mode else 0.9)


def test_shapes_are_read_off_integers(many_operators: tuple[bytes, dict], observe: Callable) -> None:
    """A Reshape with an open batch asks for a shape; nothing is dequantized for it."""
    model, inputs = many_operators
    options = QuantizationOptions('INT8', 'INT8', engine='LITERT')
    operators = inspect_model(quantize_model(model, options, observe(model, inputs))).operators
    assert [op.name for op in operators].count('SHAPE') == 2
    # The one before the leaky ReLU, which LiteRT's quantizer leaves float.
    assert [op.name for op in operators].count('DEQUANTIZE') == 1


def test_keep_float_keeps_only_what_it_names(digits_float: bytes, digits_ranges: dict) -> None:
    file = quantize_model(digits_float, QuantizationOptions('INT8', keep_float=(r'dense',)), digits_ranges)
    assert {op.name for op in inspect_model(file).float_ops} == {'FULLY_CONNECTED'}


def test_keep_float_that_names_nothing_is_refused(digits_float: bytes, digits_ranges: dict) -> None:
    with pytest.raises(EdgeError, match="'lstm' is found in no tensor name"):
        quantize_model(digits_float, QuantizationOptions('INT8', keep_float=('lstm',)), digits_ranges)


def test_missing_range_is_named(digits_float: bytes, digits_ranges: dict) -> None:
    (first, *_) = digits_ranges
    without = {name: limits for name, limits in digits_ranges.items() if name != first}
    assert missing_ranges(digits_float, INT8, without) == [first]
    with pytest.raises(EdgeError, match=rf'no range for tensor {first!r} \(1 missing\)'):
        quantize_model(digits_float, INT8, without)


@pytest.mark.slow
def test_nan_weights_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable([[1.0, float('nan')], [2.0, 3.0]])

        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.matmul(x, self.kernel, name='layer')}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / 'model'), signatures={'serving_default': net.__call__})
    model = convert_saved_model(str(tmp_path / 'model'), 'serving_default')
    with pytest.raises(EdgeError, match=r"the weights 'layer.* hold NaN"):
        require_finite_weights(model)
    for mode in ('INT8', 'DYNAMIC_INT8', 'FLOAT16', 'FLOAT32'):
        with pytest.raises(EdgeError, match='hold NaN'):
            quantize_model(model, QuantizationOptions(mode), {})


def test_weights_beyond_float16_are_refused(digits_float: bytes) -> None:
    huge = _with_kernels(digits_float, lambda name, kernel: kernel * 1e6)
    with pytest.raises(EdgeError, match='float16 cannot hold'):
        quantize_model(huge, QuantizationOptions('FLOAT16'))


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8', 'INT4X8'])
@pytest.mark.parametrize('dead', [(0.0, 0.0), (0.0, 1e-12), (-1e-7, 0.0)])
def test_dead_activation_gives_a_file_that_runs(
    digits_float: bytes,
    digits_ranges: dict,
    digits: dict[str, np.ndarray],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    dead: tuple[float, float],
) -> None:
    """Whichever activation it is; and it is named."""
    options = QuantizationOptions(mode)
    for name in missing_ranges(digits_float, options, {}):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            file = quantize_model(digits_float, options, {**digits_ranges, name: dead})
        assert f'next to it; their ranges were widened: {name}' in caplog.text
        assert np.isfinite(LiteRTModel(file)({'image': digits['x_eval'][:8]})['output_0']).all()


def test_infinite_range_is_refused_by_name(digits_float: bytes, digits_ranges: dict) -> None:
    (first, *_) = digits_ranges
    with pytest.raises(EdgeError, match=rf'range of tensor {first!r} is -inf to 1; expected finite numbers'):
        quantize_model(digits_float, INT8, {**digits_ranges, first: (-np.inf, 1.0)})


@pytest.mark.slow
def test_better_engine_is_taken_and_reported(
    many_operators: tuple[bytes, dict], digits_float: bytes, digits_ranges: dict, observe: Callable
) -> None:
    made = make_file(digits_float, INT8, digits_ranges)
    assert (made.engine, made.reason) == ('LITERT', 'it leaves no operator float')
    model, inputs = many_operators
    ranges = observe(model, inputs)
    made = make_file(model, INT8, ranges)
    assert (made.engine, made.reason) == ('CONVERTER', 'it leaves none float, engine LITERT 1 (LEAKY_RELU)')
    assert not inspect_model(made.model).float_ops
    answered, wanted = (LiteRTModel(m)(inputs)['probs'] for m in (made.model, model))
    assert np.abs(answered - wanted).mean() < 0.02
    asked = make_file(model, QuantizationOptions('INT8', engine='LITERT'), ranges)
    assert [op.name for op in inspect_model(asked.model).float_ops] == ['LEAKY_RELU']


def test_operators_kept_float_are_no_reason_for_the_other_engine(
    digits_float: bytes, digits_ranges: dict
) -> None:
    made = make_file(digits_float, QuantizationOptions('INT8', keep_float=('dense',)), digits_ranges)
    assert (made.engine, made.reason) == ('LITERT', 'it leaves no operator float')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (QuantizationOptions('INT7'), "mode is 'INT7'; expected one of INT8, INT16X8"),
        (QuantizationOptions(io='INT16'), "io is 'INT16'; expected one of FLOAT, INT8, UINT8"),
        (QuantizationOptions(engine='BEST'), "engine is 'BEST'; expected one of AUTO, LITERT, CONVERTER"),
        (QuantizationOptions('INT16X8', 'INT8'), 'mode INT16X8 has no int8 activations; set io to FLOAT'),
        (QuantizationOptions('FLOAT16', 'UINT8'), 'mode FLOAT16 has no int8 activations; set io to FLOAT'),
    ],
)
def test_impossible_options_are_refused(
    digits_float: bytes, digits_ranges: dict, options: QuantizationOptions, message: str
) -> None:
    with pytest.raises(EdgeError, match=message):
        quantize_model(digits_float, options, digits_ranges)


def test_damaged_file_is_refused(digits_float: bytes, digits_ranges: dict) -> None:
    with pytest.raises(EdgeError, match='damaged or truncated'):
        quantize_model(digits_float[:-2000], INT8, digits_ranges)
