"""Equalization: which pairs, the same function, what is preserved, and what int8 gains."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.post_training.equalization import equalize
from tfx_edge.components.core.post_training.output_error import in_decibels

INT8 = QuantizationOptions('INT8', engine='LITERT')


def _layer(name: str) -> str:
    """The Keras layer's name in a tensor's."""
    return re.sub(r'_\d+$', '', name.split('/')[1])


def _answers(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    return LiteRTModel(model)({'image': images})


def test_pairs_are_those_whose_channels_scale_through(many_links: bytes) -> None:
    equalized = equalize(many_links)
    assert [(_layer(first), _layer(second)) for first, second in equalized.pairs] == [
        ('conv', 'multiplied'),
        ('multiplied', 'grouped'),
        ('grouped', 'transposed'),
        # Its bias is zeros that it shares.
        ('transposed', 'bounded'),
        # Then: a bounded activation, a fork, a sum.
        ('flattened', 'dense'),
        ('dense', 'squashed'),
        # Then: tanh, and an output.
    ]
    assert equalized.kept == ()


def test_the_float_function_stays(many_links: bytes, with_constants: Callable) -> None:
    @settings(max_examples=25, deadline=None, database=None)
    @given(seed=st.integers(0, 2**31), spread=st.floats(0, 12), zeros=st.sampled_from([0.0, 0.3, 0.9]))
    def check(seed: int, spread: float, zeros: float) -> None:
        rng = np.random.default_rng(seed)

        def draw(name: str, values: np.ndarray) -> np.ndarray:
            if not values.any():
                return values  # shared zeros
            drawn = rng.normal(size=values.shape) * np.exp2(rng.uniform(-spread, spread, values.shape[-1]))
            return np.where(rng.random(values.shape) < zeros, 0, drawn / np.sqrt(np.prod(values.shape[1:])))

        model = with_constants(many_links, draw)
        equalized = equalize(model)
        assert len(equalized.pairs) + len(equalized.kept) == 6
        images = rng.normal(size=(4, 12, 12, 2)).astype(np.float32)
        before, after = _answers(model, images), _answers(equalized.model, images)
        for name, values in before.items():
            tolerance = 2e-5 * (1 + np.abs(values).max())
            np.testing.assert_allclose(after[name], values, rtol=1e-3, atol=tolerance)

    check()


def test_same_bytes_and_only_values_change(uneven: bytes, constants: Callable) -> None:
    equalized = equalize(uneven).model
    assert equalized == equalize(uneven).model
    before, after = flatbuffer.read(uneven), flatbuffer.read(equalized)
    for content in (before, after):
        for buffer in content.buffers:
            buffer.data = None
    assert flatbuffer.write(before) == flatbuffer.write(after)
    old, new = constants(uneven), constants(equalized)
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    # All but the answer's bias, and the axes of the mean.
    assert len(changed) == len(old) - 2
    again = constants(equalize(equalized).model)
    for name, values in new.items():
        np.testing.assert_allclose(again[name], values, rtol=0.01)


def test_channels_of_a_triple_end_in_one_range(uneven: bytes, constants: Callable) -> None:
    names = {_layer(name): name for name in constants(uneven) if name.endswith('/kernel')}
    kernels = constants(equalize(uneven).model)
    stem, depthwise, pointwise = (np.abs(kernels[names[n]]) for n in ('stem', 'depthwise', 'pointwise'))
    np.testing.assert_allclose(depthwise.max((0, 1, 2)), stem.max((1, 2, 3)), rtol=0.01)
    np.testing.assert_allclose(pointwise.max((0, 1, 2)), stem.max((1, 2, 3)), rtol=0.01)


def test_zeros_stay_zeros(uneven: bytes, with_constants: Callable, constants: Callable) -> None:
    rng = np.random.default_rng(5)
    pruned = with_constants(uneven, lambda _, values: values * (rng.random(values.shape) < 0.4))
    before, after = constants(pruned), constants(equalize(pruned).model)
    for name, values in before.items():
        np.testing.assert_array_equal(values == 0, after[name] == 0)


@pytest.mark.parametrize('granularity', ['DEPLOYED', 'CHANNEL'])
def test_clustered_kernels_keep_their_clusters(
    uneven: bytes,
    with_constants: Callable,
    observe: Callable,
    digits: dict[str, np.ndarray],
    granularity: str,
) -> None:
    """Only a second kernel that is not depthwise can lose them."""
    rng = np.random.default_rng(6)
    clusters = 8

    def cluster(name: str, values: np.ndarray) -> np.ndarray:
        if '/second_pointwise' not in name or name.endswith('/bias'):
            return values
        largest = np.abs(values).max((1, 2, 3), keepdims=True)
        codebook = np.array([-127, -80, -40, -9, 0, 25, 70, 127]) / 127
        drawn = rng.choice(codebook, values.shape)
        if granularity == 'CHANNEL':
            drawn = rng.uniform(-1, 1, (len(values), clusters))[
                np.arange(len(values)).reshape(-1, 1, 1, 1), rng.integers(0, clusters, values.shape)
            ]
        drawn[..., 0] = codebook[-1]
        return drawn * largest

    model = with_constants(uneven, cluster)
    equalized = equalize(model)
    assert [(_layer(a), _layer(b)) for a, b in equalized.kept] == [('second_depthwise', 'second_pointwise')]
    assert len(equalized.pairs) == 4
    file = quantize_model(equalized.model, INT8, observe(equalized.model, digits['x_train'][:64]))
    content = flatbuffer.read(file)
    (kernel,) = (
        flatbuffer.constant(content, tensor)
        for tensor in content.subgraphs[0].tensors
        if re.search('/second_pointwise.*/kernel', flatbuffer.tensor_name(tensor))
    )
    assert kernel is not None
    in_channels = [len(np.unique(channel)) for channel in kernel]
    assert (len(np.unique(kernel)) if granularity == 'DEPLOYED' else max(in_channels)) <= clusters + 1
    assert {k.dtype for k in inspect_model(file).kernels} == {'int8'}


def test_dead_and_switched_off_channels_ruin_nothing(
    uneven: bytes, with_constants: Callable, observe: Callable, digits: dict[str, np.ndarray]
) -> None:
    """Batch norm leaves a switched-off channel tiny weights and a bias; pruning leaves channels that nobody reads."""

    def switch_off(name: str, values: np.ndarray) -> np.ndarray:
        if '/pointwise' in name and name.endswith('/kernel'):
            values[0] *= 1e-12
            values[1] = 0
            values[..., 3] = 0
        if '/pointwise' in name and name.endswith('/bias'):
            # The second is a channel that is always 0.
            values[:2] = np.abs(values).max(), -1
        if '/second_depthwise' in name and name.endswith('/kernel'):
            values[..., 1] = 1e4
        return values

    model = with_constants(uneven, switch_off)
    equalized = equalize(model).model
    images = digits['x_train'][:256]
    file = quantize_model(equalized, INT8, observe(equalized, images))
    (expected,), (found,) = (LiteRTModel(f)({'image': digits['x_eval']}).values() for f in (model, file))
    assert in_decibels(float(np.sum((found - expected) ** 2) / np.sum(expected**2))) > 25


def test_nan_weights_are_refused(uneven: bytes, with_constants: Callable) -> None:
    broken = with_constants(uneven, lambda name, v: np.full_like(v, np.nan) if '/stem' in name else v)
    with pytest.raises(EdgeError, match='hold NaN'):
        equalize(broken)


def test_binary_kernels_are_left_alone(many_links: bytes, with_constants: Callable) -> None:
    equalized = equalize(with_constants(many_links, lambda _, values: np.sign(values)))
    # A depthwise kernel's channels have scales of their own.
    assert [(_layer(a), _layer(b)) for a, b in equalized.pairs] == [('conv', 'multiplied')]
    assert len(equalized.kept) == 5
