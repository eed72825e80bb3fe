"""The second engine: same parameters as the stock converter, the float file's names, and TensorFlow's private parts."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model, kernel_indices
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization import converter_adapter, converter_engine
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import make_file, missing_ranges, quantize_model

pytestmark = pytest.mark.slow

Ranges = Mapping[str, tuple[float, float]]


def _parameters(file: bytes) -> list[tuple[str, list[np.ndarray], list[int]]]:
    """Of each operator in order of execution: its kind, the scales of its kernel and output, its zero points."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    kernels = kernel_indices(content, graph)
    found = []
    for operator in graph.operators:
        touched = [i for i in operator.inputs if i in kernels] + [operator.outputs[0]]
        quantized = [graph.tensors[i].quantization for i in touched]
        quantized = [q for q in quantized if q is not None and q.scale is not None]
        scales = [np.array(q.scale) for q in quantized]
        zeros = [int(q.zeroPoint[0]) for q in quantized]
        found.append((flatbuffer.operator_name(content, operator), scales, zeros))
    return found


def _stock(folder: pathlib.Path, samples: np.ndarray, mode: str, *, calibrate_only: bool = False) -> bytes:
    """What TensorFlow's own converter makes."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter._experimental_calibrate_only = calibrate_only
    if mode == 'INT16X8':
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen]
    return converter.convert()


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
def test_both_engines_have_the_parameters_of_the_stock_converter(
    digits_saved_model: pathlib.Path,
    digits_float: bytes,
    digits: dict[str, np.ndarray],
    observe: Callable,
    mode: str,
) -> None:
    images = digits['x_train'][:32]
    stock = _parameters(_stock(digits_saved_model, images, mode))
    ranges = observe(digits_float, {'image': images})
    for engine in ('LITERT', 'CONVERTER'):
        ours = _parameters(quantize_model(digits_float, QuantizationOptions(mode, engine=engine), ranges))
        assert [kind for kind, _, _ in ours] == [kind for kind, _, _ in stock]
        for (kind, scales, zeros), (_, expected, expected_zeros) in zip(ours, stock, strict=True):
            assert zeros == expected_zeros, kind
            for one, other in zip(scales, expected, strict=True):
                # TensorFlow 2.16 gives a dense kernel one scale, that of its largest channel.
                one = one.max(keepdims=True) if kind == 'FULLY_CONNECTED' and len(other) == 1 else one
                np.testing.assert_allclose(one, other, rtol=2e-6, err_msg=f'{engine} {kind}')


@pytest.mark.parametrize('io', ['FLOAT', 'UINT8'])
def test_file_has_the_names_of_the_float_file(
    many_operators: tuple[bytes, dict], observe: Callable, io: str
) -> None:
    model, inputs = many_operators
    options = QuantizationOptions('INT8', io, engine='CONVERTER')
    summary, floats = (
        inspect_model(quantize_model(model, options, observe(model, inputs))),
        inspect_model(model),
    )
    assert summary.signature_name == floats.signature_name
    assert set(summary.inputs) == set(floats.inputs)
    assert set(summary.outputs) == set(floats.outputs)
    assert {kernel.name for kernel in summary.kernels} == {kernel.name for kernel in floats.kernels}
    known = {op.output for op in floats.operators}
    computed = [op.output for op in summary.operators if op.name not in ('QUANTIZE', 'DEQUANTIZE')]
    assert set(computed) <= known
    assert len(computed) > len(known) / 2
    for op in summary.operators:
        if op.name in ('QUANTIZE', 'DEQUANTIZE'):
            own = 'serving_default_image:0' if io == 'UINT8' else ''
            assert op.output == own or op.output.endswith(('_quantized', '_dequant', '_uint8'))


def test_keep_float_keeps_only_what_it_names(digits_float: bytes, digits_ranges: Ranges) -> None:
    options = QuantizationOptions('INT8', keep_float=(r'dense',), engine='CONVERTER')
    summary = inspect_model(quantize_model(digits_float, options, digits_ranges))
    assert {op.name for op in summary.float_ops} == {'FULLY_CONNECTED'}


def test_ranges_that_only_the_converter_needs_are_asked_for(
    many_operators: tuple[bytes, dict], observe: Callable
) -> None:
    model, inputs = many_operators
    ranges = observe(model, inputs)
    (resized,) = [op.output for op in inspect_model(model).operators if op.name == 'RESIZE_BILINEAR']
    kept = (re.escape(resized), 'leaky')
    litert = QuantizationOptions('INT8', keep_float=kept, engine='LITERT')
    enough = {name: ranges[name] for name in missing_ranges(model, litert, {})}
    converter = dataclasses.replace(litert, engine='CONVERTER')
    assert missing_ranges(model, converter, enough) == [resized]
    with pytest.raises(EdgeError, match=rf'no range for tensor {resized!r} \(1 missing\)'):
        quantize_model(model, converter, enough)


@pytest.mark.parametrize('mode', ['DYNAMIC_INT8', 'DYNAMIC_INT4', 'FLOAT16', 'INT4X8'])
def test_other_modes_are_refused_by_name(digits_float: bytes, mode: str) -> None:
    with pytest.raises(EdgeError, match=rf'CONVERTER cannot make a file of mode {mode}.*AUTO or LITERT'):
        quantize_model(digits_float, QuantizationOptions(mode, engine='CONVERTER'))


def test_sixteen_bits_with_keep_float_are_refused(digits_float: bytes) -> None:
    with pytest.raises(EdgeError, match='INT16X8 with keep_float'):
        quantize_model(
            digits_float, QuantizationOptions('INT16X8', keep_float=('dense',), engine='CONVERTER')
        )


def test_file_that_does_not_run_is_not_shipped(observe: Callable, tmp_path: pathlib.Path) -> None:
    """The 16-bit path gives LiteRT an int16 SQUARED_DIFFERENCE, for which it has no kernel."""
    model = _squared_difference(tmp_path / 'saved_model')
    ranges = observe(model, {'x': np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)})
    with pytest.raises(EdgeError, match=r'INT16X8 file does not run .*SQUARED_DIFFERENCE.*; keep') as caught:
        quantize_model(model, QuantizationOptions('INT16X8', engine='CONVERTER'), ranges)
    assert '\n' not in str(caught.value)
    made = make_file(model, QuantizationOptions('INT16X8'), ranges)
    assert made.engine == 'LITERT'
    assert 'leaves 1 (SQUARED_DIFFERENCE) float, and engine CONVERTER does not serve' in made.reason


def test_adapter_calls_what_the_installed_tensorflow_has(digits_float: bytes, digits_ranges: Ranges) -> None:
    """Both private paths of TensorFlow take a file with ranges and nothing else, in this process."""
    calibrated = converter_engine.with_ranges(digits_float, digits_ranges)
    eight = inspect_model(converter_adapter.quantize_int8(calibrated, True, []))
    assert set(eight.inputs.values()) | set(eight.outputs.values()) == {'int8'}
    kept = inspect_model(converter_adapter.quantize_int8(calibrated, False, [eight.operators[0].output]))
    assert [op.name for op in kept.float_ops] == ['CONV_2D']
    sixteen = inspect_model(converter_adapter.quantize_int16(calibrated))
    assert {tensor.dtype for tensor in sixteen.kernels} == {'int8'}
    assert 'int16' in {tensor.dtype for tensor in sixteen.tensors if not tensor.constant}
    assert not eight.float_ops
    assert not sixteen.float_ops


@pytest.fixture(scope='module')
def residual(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A SavedModel whose sums may overwrite what they add, with input `x`."""
    import keras
    from keras import layers

    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    x = keras.Input((8, 8, 2), name='x')
    h = layers.Conv2D(4, 3, padding='same')(x)
    for _ in range(2):
        h = layers.ReLU()(layers.Add()([layers.Conv2D(4, 3, padding='same')(h), h]))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(h)))
    folder = tmp_path_factory.mktemp('residual') / 'saved_model'
    model.export(folder, verbose=False)
    return folder


def test_where_stock_ranges_differ_on_a_residual_net_ours_are_the_true_ones(
    residual: pathlib.Path, observe: Callable
) -> None:
    """The stock calibrator logs a tensor again after an addition has overwritten it (tensorflow#127842)."""
    samples = np.random.default_rng(0).normal(size=(16, 8, 8, 2)).astype(np.float32)
    float_model = convert_saved_model(str(residual), 'serving_default')
    ours = observe(float_model, {'x': samples})
    truth = _true_ranges(float_model, samples)
    stock = _logged_ranges(_stock(residual, samples, 'INT8', calibrate_only=True))
    names = _outputs(float_model)
    assert len(stock) == len(names)
    differing = []
    for name, logged in zip(names, stock, strict=True):
        np.testing.assert_allclose(ours[name], truth[name], rtol=1e-6, atol=1e-6)
        if not np.allclose(logged, ours[name], rtol=1e-4, atol=1e-5):
            assert not np.allclose(logged, truth[name], rtol=1e-4, atol=1e-5)
            differing.append(name)


def _squared_difference(folder: pathlib.Path) -> bytes:
    """A float file with a SQUARED_DIFFERENCE."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'y': tf.math.squared_difference(tf.nn.relu(x), 1.5)}

    tf.saved_model.save(tf.Module(), str(folder), signatures={'serving_default': call})
    return convert_saved_model(str(folder), 'serving_default')


def _outputs(file: bytes) -> list[str]:
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    return [flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]) for operator in graph.operators]


def _logged_ranges(file: bytes) -> list[tuple[float, float]]:
    """Minimum and maximum of each operator's output, as a calibrated file holds them."""
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    found = [graph.tensors[operator.outputs[0]].quantization for operator in graph.operators]
    return [(float(q.min[0]), float(q.max[0])) for q in found]


def _true_ranges(float_model: bytes, samples: np.ndarray) -> dict[str, tuple[float, float]]:
    """Computed by running a file of the graph up to each tensor, where nothing comes after to overwrite it."""
    content = flatbuffer.read(float_model)
    ranges = {}
    for operator in list(content.subgraphs[0].operators):
        index = operator.outputs[0]
        cut = flatbuffer.read(float_model)
        graph = cut.subgraphs[0]
        graph.operators = graph.operators[: len(ranges) + 1]
        graph.outputs = [index]
        cut.signatureDefs[0].outputs = cut.signatureDefs[0].outputs[:1]
        cut.signatureDefs[0].outputs[0].tensorIndex = int(index)
        (values,) = LiteRTModel(flatbuffer.write(cut))({'x': samples}).values()
        ranges[flatbuffer.tensor_name(graph.tensors[index])] = float(values.min()), float(values.max())
    return ranges


def _saved(module: object, folder: pathlib.Path) -> bytes:
    import tensorflow as tf

    tf.saved_model.save(module, str(folder), signatures={'serving_default': module.__call__})
    return convert_saved_model(str(folder), 'serving_default')


def test_range_that_another_reader_needs_is_not_cut(observe: Callable, tmp_path: pathlib.Path) -> None:
    """The converter gives MINIMUM's input the range of its output, though RELU reads that input too."""
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            total = tf.abs(x) + x + tf.reverse(x, [1])
            return {'high': tf.nn.relu(total) * 0.5, 'low': tf.minimum(total, 0.0)}

    model = _saved(Net(), tmp_path / 'net')
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    ranges = observe(model, {'x': x})
    with pytest.raises(EdgeError, match=r"'add_1' the range -[\d.]+ to 0, but its values reach from"):
        quantize_model(model, QuantizationOptions('INT8', engine='CONVERTER'), ranges)


def test_copies_between_two_scales_are_refused(observe: Callable, tmp_path: pathlib.Path) -> None:
    """The converter widens REVERSE_V2's input for PACK, and leaves its output as it was calibrated."""
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            total = x * 2.0 + tf.nn.relu(x)
            packed = tf.reduce_sum(tf.stack([total, 3 * total], 1), 1)
            return {'packed': packed / (tf.abs(x) + 1.0), 'reversed': tf.reverse(total, [1])}

    model = _saved(Net(), tmp_path / 'net')
    x = np.random.default_rng(0).uniform(-1, 1, size=(64, 6)).astype(np.float32)
    ranges = observe(model, {'x': x})
    with pytest.raises(
        EdgeError, match=r'copies integers of step .* by REVERSE_V2, which changes their meaning'
    ):
        quantize_model(model, QuantizationOptions('INT8', engine='CONVERTER'), ranges)
    made = make_file(model, QuantizationOptions('INT8'), ranges)
    assert made.engine == 'LITERT'
    answers, found = (LiteRTModel(file)({'x': x}) for file in (model, made.model))
    for name, values in answers.items():
        assert np.abs(found[name] - values).max() < 0.05 * np.abs(values).max()


def test_codebook_is_not_spread_for_fewer_float_operators(observe: Callable, tmp_path: pathlib.Path) -> None:
    """TensorFlow 2.16 gives a dense kernel one scale, so that K integers in each channel become many."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    members = np.array([-127, -90, -50, -20, 0, 30, 70, 127])
    integers = random.choice(members, size=(32, 16))
    integers[0] = 127

    class Net(tf.Module):
        def __init__(self) -> None:
            scales = random.uniform(0.3, 1, size=16)
            self.kernel = tf.Variable((integers * scales / 127).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, 32), tf.float32, name='x')])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.nn.leaky_relu(tf.matmul(x, self.kernel))}

    model = _saved(Net(), tmp_path / 'net')
    ranges = observe(model, {'x': random.normal(size=(32, 32)).astype(np.float32)})
    assert inspect_model(make_file(model, QuantizationOptions('INT8'), ranges).model).kernel_max_distinct == 8
