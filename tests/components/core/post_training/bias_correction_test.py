"""Bias correction: means that match, in all kinds of layers; what is skipped and refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.post_training.bias_correction import correct, needed_means
from tfx_edge.components.core.post_training.output_error import Reference, in_decibels

INT8 = QuantizationOptions('INT8', engine='LITERT')
DYNAMIC = QuantizationOptions('DYNAMIC_INT8')


@pytest.fixture(scope='module')
def kinds(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One output for each kind of layer, all of them reading the image or its flat form."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    drawn = {'bias_initializer': 'random_normal'}
    image = keras.Input((9, 10, 4), name='image')
    outputs = {
        'dilated': layers.Conv2D(3, 3, padding='same', **drawn)(image),
        'strided': layers.Conv2D(5, (5, 3), strides=2, padding='same', **drawn)(image),
        'valid': layers.Conv2D(7, (3, 2), strides=2, **drawn)(image),
        'dilated_by_batch': layers.Conv2D(9, 3, dilation_rate=2, padding='same', **drawn)(image),
        'grouped': layers.Conv2D(6, 3, groups=2, padding='same', **drawn)(image),
        'depthwise': layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding='same', **drawn)(image),
        'transposed': layers.Conv2DTranspose(10, 3, strides=2, padding='same', **drawn)(image),
        'transposed_valid': layers.Conv2DTranspose(11, 4, strides=2, **drawn)(image),
        'dense': layers.Dense(12, **drawn)(layers.Flatten()(image)),
        'dense_in_places': layers.Dense(13, **drawn)(image),
    }
    folder = tmp_path_factory.mktemp('kinds') / 'saved_model'
    keras.Model(image, outputs).export(folder, verbose=False)
    content = flatbuffer.read(convert_saved_model(str(folder), 'serving_default'))
    for operator in content.subgraphs[0].operators:
        if flatbuffer.shape(content.subgraphs[0].tensors[operator.outputs[0]])[-1:] == (3,):
            # The converter makes such operators of some graphs, and others around an undilated one of this.
            operator.builtinOptions.dilationHFactor = operator.builtinOptions.dilationWFactor = 2
    return flatbuffer.write(content)


def _with_kernels_of(model: bytes, quantized: bytes) -> bytes:
    """The float file with the kernels that the quantized one means."""
    content, integers = flatbuffer.read(model), flatbuffer.read(quantized)
    by_name = {flatbuffer.tensor_name(t): t for t in integers.subgraphs[0].tensors}
    for tensor in content.subgraphs[0].tensors:
        if not flatbuffer.tensor_name(tensor).endswith('/kernel'):
            continue
        stored = by_name[flatbuffer.tensor_name(tensor)]
        values = flatbuffer.constant(integers, stored)
        assert values is not None
        axis = stored.quantization.quantizedDimension
        scales = np.array(stored.quantization.scale).reshape(
            [-1 if i == axis else 1 for i in range(values.ndim)]
        )
        content.buffers[tensor.buffer].data = np.frombuffer(
            (values * scales).astype(np.float32).tobytes(), np.uint8
        )
    return flatbuffer.write(content)


def _means_of_outputs(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    answers = LiteRTModel(model)({'image': images})
    return {name: values.reshape(-1, values.shape[-1]).mean(axis=0) for name, values in answers.items()}


@pytest.mark.slow
@pytest.mark.parametrize(('mode', 'seed'), [('INT8', 0), ('INT8', 1), ('INT4X8', 2), ('INT4X8', 3)])
def test_means_match_in_every_kind_of_layer(
    kinds: bytes, observe: Callable, channel_means: Callable, mode: str, seed: int
) -> None:
    """With inputs constant over space the expected shift is exact, borders included."""

    levels = np.random.default_rng(seed).uniform(0.5, 2, 4)
    images = np.broadcast_to(levels, (2, 9, 10, 4)).astype(np.float32)
    options = QuantizationOptions(mode, engine='LITERT')
    quantized = quantize_model(kinds, options, observe(kinds, images))
    corrected = correct(kinds, quantized, channel_means(kinds, images))
    assert len(corrected.corrected) == 9
    # Its input is padded, and its output cropped.
    assert len(corrected.skipped) == 1
    files = (
        kinds,
        _with_kernels_of(kinds, quantized),
        _with_kernels_of(corrected.model, quantized),
    )
    wanted, plain, found = (_means_of_outputs(file, images) for file in files)
    before, after = (
        {name: np.abs(means[name] - wanted[name]).max() for name in wanted} for means in (plain, found)
    )
    assert after.pop('dilated_by_batch') == before['dilated_by_batch']
    assert max(after.values()) < 2e-5, after
    assert max(before.values()) > 1e-3


def test_int4_files_come_nearer_to_float(
    separable: bytes, digits: dict[str, np.ndarray], observe: Callable, channel_means: Callable
) -> None:
    images = digits['x_train'][:256]
    options, ranges = QuantizationOptions('INT4X8', engine='LITERT'), observe(separable, images)
    quantized = quantize_model(separable, options, ranges)
    corrected = correct(separable, quantized, channel_means(separable, images))
    assert correct(separable, quantized, channel_means(separable, images)) == corrected
    again = quantize_model(corrected.model, options, ranges)
    reference = Reference(separable, {'image': digits['x_eval']})
    before, after = (in_decibels(reference.noise(file)) for file in (quantized, again))
    assert after > before + 1


def test_only_biases_change(
    separable: bytes,
    digits: dict[str, np.ndarray],
    observe: Callable,
    channel_means: Callable,
    constants: Callable,
) -> None:
    images = digits['x_train'][:64]
    quantized = quantize_model(separable, INT8, observe(separable, images))
    corrected = correct(separable, quantized, channel_means(separable, images))
    before, after = constants(separable), constants(corrected.model)
    changed = {name for name, values in before.items() if not np.array_equal(values, after[name])}
    assert changed == {name for name in before if name.endswith('/bias')}
    assert [name.removesuffix('/bias') for name in before if name.endswith('/bias')] == list(
        corrected.corrected
    )


def test_layers_without_a_bias_of_their_own_are_named(many_links: bytes, channel_means: Callable) -> None:
    images = np.random.default_rng(0).normal(size=(16, 12, 12, 2)).astype(np.float32)
    quantized = quantize_model(many_links, DYNAMIC)
    corrected = correct(many_links, quantized, channel_means(many_links, images))
    # Two share zeros, one has none.
    assert [name.split('/')[1].rsplit('_', 1)[0] for name in corrected.skipped] == [
        'transposed',
        'branch',
        'squashed',
    ]
    assert len(corrected.corrected) == 9


def test_float_layers_are_not_touched(
    separable: bytes, digits: dict[str, np.ndarray], observe: Callable, channel_means: Callable
) -> None:
    images = digits['x_train'][:64]
    options = QuantizationOptions('INT8', keep_float=('depthwise', 'pointwise', 'dense'))
    quantized = quantize_model(separable, options, observe(separable, images))
    corrected = correct(separable, quantized, channel_means(separable, images))
    assert (len(corrected.corrected), corrected.skipped) == (1, ())
    assert (
        correct(separable, quantize_model(separable, QuantizationOptions('FLOAT16')), {}).model == separable
    )


def test_needed_means_are_enough(many_links: bytes, channel_means: Callable) -> None:
    images = np.random.default_rng(0).normal(size=(16, 12, 12, 2)).astype(np.float32)
    quantized = quantize_model(many_links, DYNAMIC)
    means = channel_means(many_links, images)
    needed = needed_means(many_links)
    assert len(needed) == len(set(needed)) == 9
    few = {name: means[name] for name in needed}
    assert correct(many_links, quantized, few) == correct(many_links, quantized, means)


def test_what_does_not_fit_is_refused(
    separable: bytes,
    digits: dict[str, np.ndarray],
    observe: Callable,
    channel_means: Callable,
) -> None:
    images = digits['x_train'][:64]
    quantized = quantize_model(separable, INT8, observe(separable, images))
    means = channel_means(separable, images)
    (first, *_) = needed_means(separable)
    with pytest.raises(EdgeError, match=rf'no channel means of tensor {first!r}'):
        correct(separable, quantized, {name: m for name, m in means.items() if name != first})
    for wrong in (np.ones(2), np.full(1, np.nan)):
        with pytest.raises(EdgeError, match=rf'{first!r} .*expected 1 finite numbers'):
            correct(separable, quantized, {**means, first: wrong})
    with pytest.raises(EdgeError, match='damaged or truncated'):
        correct(separable, quantized[:1000], means)


def test_a_file_of_another_model_is_refused(separable: bytes) -> None:
    content = flatbuffer.read(quantize_model(separable, DYNAMIC))
    first, second = [
        t for t in content.subgraphs[0].tensors if flatbuffer.tensor_name(t).endswith('/kernel')
    ][:2]
    first.name, second.name = second.name, first.name
    with pytest.raises(EdgeError, match='is not that of the float file'):
        correct(separable, flatbuffer.write(content), {})
