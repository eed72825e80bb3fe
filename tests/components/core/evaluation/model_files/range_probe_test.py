"""What real `.tflite` files clip, distinguished from what lies at their rails by nature."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.evaluators.calibration_fit import calibration_fit
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe, integer_tensors
from tfx_edge.components.core.evaluation.model_files.range_use import RangeUse
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model


def fit(model: bytes, images: np.ndarray):
    probe = RangeProbe(model)
    uses = [probe({'image': image}) for image in images[:, np.newaxis]]
    return calibration_fit(probe.tensors, sum(uses, RangeUse.none(len(probe.tensors))))


def at_rails(model: bytes, image: np.ndarray) -> float:
    """The largest share of a tensor's values at a rail, of which most files have plenty."""
    run = LiteRTModel(model, preserve_all_tensors=True)
    run({'image': image[np.newaxis]})
    shares = []
    for tensor in integer_tensors(model):
        values = run.interpreter.get_tensor(tensor.index)
        shares.append(np.mean((values == tensor.lowest) | (values == tensor.highest)))
    return max(shares)


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
def test_what_lies_at_a_rail_by_nature_is_not_clipped(quantized, images, mode):
    model = quantized(images, mode)
    result = fit(model, images)
    assert result.most_clipped.clipping == 0
    assert result.least_used is not None
    assert result.least_used.range_used > 0.9
    assert mode == 'INT16X8' or at_rails(model, images[0]) > 0.4


def test_a_tensor_that_an_operator_wants_in_another_range_is_judged_by_its_own() -> None:
    """SELECT_V2 wants both operands in the range of its output; another reader takes the values that it leaves out."""
    float_model = files.float_model('selected')
    x = np.random.default_rng(0).uniform(-1, 1, size=(64, 6)).astype(np.float32)
    x[::2] *= 100
    ranges: dict[str, tuple[float, float]] = {}
    read = ActivationReader(float_model)
    for start in range(0, 64, 8):
        for name, values in read({'x': x[start : start + 8]}).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    model = quantize_model(float_model, QuantizationOptions('INT8', engine='LITERT'), ranges)
    probe = RangeProbe(model)
    inputs = [tensor for tensor in probe.tensors if 'serving_default_x' in tensor.name]
    (own,) = inputs
    assert own.range[1] > 90
    uses = [probe({'x': row}) for row in x[:, np.newaxis]]
    result = calibration_fit(probe.tensors, sum(uses, RangeUse.none(len(probe.tensors))))
    assert result.most_clipped.clipping < 0.01
    # Half as wide as the values it is clipped like any other.
    narrow = {name: (low / 2, high / 2) for name, (low, high) in ranges.items()}
    probe = RangeProbe(quantize_model(float_model, QuantizationOptions('INT8', engine='LITERT'), narrow))
    uses = [probe({'x': row}) for row in x[:, np.newaxis]]
    result = calibration_fit(probe.tensors, sum(uses, RangeUse.none(len(probe.tensors))))
    assert result.most_clipped.clipping > 0.1


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
@pytest.mark.parametrize('factor', [0.5, 0.004])
def test_narrow_ranges_clip(quantized, images, mode, factor):
    result = fit(quantized(images * np.float32(factor), mode), images)
    worst = result.most_clipped
    assert worst.name.startswith('serving_default_image')
    # The input alone, by the definition.
    _, rail = worst.low, worst.high
    cut = np.maximum(np.minimum(images, rail * 3) - rail, 0).sum()
    spread = np.abs(np.minimum(images, rail * 3) - np.median(np.minimum(images, rail * 3))).sum()
    assert worst.clipping == pytest.approx(cut / (cut + spread), abs=0.02)
    assert worst.clipping > 0.2


@pytest.mark.parametrize(('mode', 'factor'), [('INT8', 20), ('INT8', 255), ('INT16X8', 20_000)])
def test_wide_ranges_are_hardly_used(quantized, images, mode, factor):
    least = fit(quantized(images * np.float32(factor), mode), images).least_used
    assert least is not None
    steps = 255 if mode == 'INT8' else 32767
    expected = min(1.0, steps / factor / 255)
    assert least.range_used is not None
    assert least.range_used <= expected * 1.05


def test_int16_has_bits_to_spare(quantized, images):
    least = fit(quantized(images * np.float32(20), 'INT16X8'), images).least_used
    assert least is not None
    assert least.range_used == 1.0


def test_types_of_the_input_show_the_same(quantized, images):
    figures = []
    for io in ('FLOAT', 'INT8', 'UINT8'):
        result = fit(quantized(images * np.float32(0.5), io=io), images)
        figures.append((result.most_clipped.clipping, result.most_clipped.low, result.most_clipped.high))
    assert figures[0] == figures[1] == figures[2]


def test_an_inner_range_that_clips_is_named(float_net, observe, images):
    ranges = dict(observe(float_net, images))
    (inner,) = (name for name, (_, high) in ranges.items() if 'add' in name.lower() and high > 6)
    ranges[inner] = (0.0, ranges[inner][1] / 3)
    result = fit(quantize_model(float_net, QuantizationOptions('INT8'), ranges), images)
    assert result.most_clipped.name == inner.split(';')[0]
    assert result.most_clipped.clipping > 0.04
    assert [t.clipping for t in result.tensors if t.name.startswith('serving_default_image')] == [0]


def test_the_file_computes_the_same_beside_its_twins(quantized, images):
    model = quantized(images)
    plain, probe = LiteRTModel(model, preserve_all_tensors=True), RangeProbe(model)
    plain({'image': images[:1]})
    probe({'image': images[:1]})
    for tensor in probe.tensors:
        expected = plain.interpreter.get_tensor(tensor.index)
        np.testing.assert_array_equal(probe._model.interpreter.get_tensor(tensor.index), expected)


def test_tensors_with_one_range_use_it_together(quantized, images):
    tensors = {tensor.name: tensor for tensor in integer_tensors(quantized(images))}
    assert len({tensor.group for tensor in tensors.values()}) < len(tensors)
    # 0.01 times the values beside them in a concatenation: by itself it would use a hundredth.
    result = fit(quantized(images), images)
    assert result.least_used is not None
    assert result.least_used.range_used > 0.9


@pytest.mark.parametrize('mode', ['FLOAT32', 'FLOAT16', 'DYNAMIC_INT8'])
def test_files_without_calibrated_activations_have_none(quantized, images, mode):
    assert integer_tensors(quantized(images, mode)) == ()


def test_values_of_zero_fit_any_range(quantized, images):
    result = fit(quantized(images), np.zeros_like(images))
    assert result.most_clipped.clipping == 0
    assert {t.range_used for t in result.tensors if t.name.startswith('serving_default_image')} == {None}


def test_infinity_is_clipped_and_nan_is_left_out(quantized, images):
    model = quantized(images)
    odd = images[:1].copy()
    odd[0, 0, 0, 0] = np.nan
    assert fit(model, odd).tensors[0].clipping == 0
    odd[0, 0, 0, 0] = np.inf
    assert fit(model, odd).tensors[0].clipping > 0


class EveryOperator(tf.Module):
    """The operators that compute new values, one after another."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 1, 1)).astype(np.float32))
        self.slopes = tf.Variable(np.full((8, 8, 1), 0.2, np.float32))
        self.matrix = tf.Variable(random.normal(size=(8, 8)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 1], name='image')])
    def serve(self, image):
        x = tf.nn.depthwise_conv2d(image, self.kernel, [1, 1, 1, 1], 'SAME')
        x = tf.nn.conv2d_transpose(x, self.kernel, [1, 8, 8, 1], 1)
        x = tf.nn.leaky_relu(x) + tf.nn.elu(x) + tf.nn.gelu(x)
        x = tf.nn.relu(x) - self.slopes * tf.nn.relu(-x) - image
        x = x * tf.nn.relu6(x + 3.0) / 6.0
        x = tf.abs(x) + tf.minimum(tf.maximum(x, -1.0), 1.0)
        x = tf.math.squared_difference(x, tf.reduce_mean(x, axis=1, keepdims=True))
        pair = tf.reshape(x, [1, 8, 8])
        product = tf.matmul(pair, tf.transpose(pair, [0, 2, 1]))
        square = tf.math.squared_difference(product, 0.5) + 1.0
        square = tf.math.rsqrt(square) + tf.exp(-square) + tf.math.log(square)
        return {'y': tf.reduce_sum(square, axis=1) @ self.matrix}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('mode', 'engine'), [('INT8', 'LITERT'), ('INT8', 'CONVERTER'), ('INT16X8', 'LITERT')]
)
def test_every_operator_runs_beside_a_twin(as_float_model, observe, images, mode, engine):
    float_model = as_float_model(EveryOperator())
    model = quantize_model(
        float_model, QuantizationOptions(mode, engine=engine), observe(float_model, images)
    )
    plain, probe = LiteRTModel(model), RangeProbe(model)
    assert len(probe.tensors) > 15
    outputs = probe._model({'image': images[:1]})
    np.testing.assert_array_equal(outputs['y'], plain({'image': images[:1]})['y'])


class FixedBatch(tf.Module):
    """A net that takes four rows and no other number."""

    @tf.function(input_signature=[tf.TensorSpec([4, 8, 8, 1], name='image')])
    def serve(self, image):
        return {'y': tf.reduce_mean(tf.nn.relu(image - 0.5), axis=(1, 2))}


@pytest.mark.slow
def test_a_fixed_batch_changes_no_share(as_float_model, observe, images):
    float_model = as_float_model(FixedBatch())
    halved = quantize_model(
        float_model, QuantizationOptions('INT8'), observe(float_model, images * np.float32(0.6))
    )
    input_fit = fit(halved, images).tensors[0]
    rail = input_fit.high
    cut = np.maximum(images - rail, 0).sum()
    expected = cut / (cut + np.abs(images - np.median(images)).sum())
    assert input_fit.clipping == pytest.approx(expected, abs=0.02)


def test_a_damaged_file_is_refused(quantized, images):
    with pytest.raises(EdgeError):
        RangeProbe(quantized(images)[:1000])
