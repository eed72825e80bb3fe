"""Every kind of weight is found, with the axes along which its file has its scales."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

from ..conftest import open_graph

Product = Callable[[tf.Tensor, tf.Variable], tf.Tensor]
_Case = tuple[tuple[int, ...], tuple[int, ...], Product, tuple[int, ...], tuple[int, ...], bool]

# (shape of an example, shape of the weight, what is computed, channel axes, sum axes, folds a factor per channel)
_CASES: dict[str, _Case] = {
    'right': ((6,), (6, 5), lambda x, w: x @ w, (1,), (0,), True),
    'right transposed': ((6,), (5, 6), lambda x, w: tf.matmul(x, w, transpose_b=True), (0,), (1,), True),
    'transposed before': ((6,), (5, 6), lambda x, w: x @ tf.transpose(w), (0,), (1,), True),
    'reshaped before': ((6,), (2, 3, 5), lambda x, w: x @ tf.reshape(w, (6, 5)), (2,), (1,), True),
    'rank three': ((4, 6), (6, 5), lambda x, w: tf.matmul(x, w), (1,), (0,), True),
    'a batch of weights': ((3, 4, 6), (3, 6, 5), lambda x, w: tf.matmul(x, w), (2,), (1,), False),
    'left': ((6, 4), (5, 6), lambda x, w: tf.matmul(w, x), (1,), (1,), False),
    'einsum': ((4, 6), (6, 5), lambda x, w: tf.einsum('abc,cd->abd', x, w), (1,), (0,), True),
    'einsum of heads': (
        (4, 6),
        (6, 2, 5),
        lambda x, w: tf.einsum('abc,cde->abde', x, w),
        (1, 2),
        (0,),
        False,
    ),
    'einsum joins heads': (
        (4, 2, 5),
        (2, 5, 6),
        lambda x, w: tf.einsum('abcd,cde->abe', x, w),
        (2,),
        (1,),
        True,
    ),
    'einsum on the left': ((4, 6), (6, 5), lambda x, w: tf.einsum('cd,abc->abd', w, x), (0,), (0,), False),
    'einsum of experts': ((3, 6), (3, 6, 5), lambda x, w: tf.einsum('abc,bcd->abd', x, w), (2,), (1,), False),
    'volume': (
        (4, 4, 4, 2),
        (3, 3, 3, 2, 5),
        lambda x, w: tf.nn.conv3d(x, w, [1] * 5, 'SAME'),
        (),
        (3,),
        False,
    ),
    'two columns': ((6,), (6, 2, 5), lambda x, w: x @ w[:, 0], (), (), False),
}


def _exported(folder: pathlib.Path, name: str, *, scaled: bool) -> ServingGraph:
    example, shape, product, _, _, _ = _CASES[name]
    random = np.random.default_rng(0)
    module = tf.Module()
    module.weight = tf.Variable(random.normal(size=shape).astype(np.float32), name='weight')
    module.scale = tf.Variable(random.normal(size=5 + ('joins' in name)).astype(np.float32), name='scale')

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        result = product(x, module.weight)
        return {'y': tf.nn.relu(result * module.scale if scaled else result)}

    batch = 1 if name == 'left' else None
    module.call = tf.function(call, input_signature=[tf.TensorSpec((batch, *example), tf.float32, name='x')])
    tf.saved_model.save(module, str(folder), signatures={'serving_default': module.call})
    return open_graph(str(folder))


@pytest.mark.parametrize('name', _CASES)
def test_axes_of_each_kind(name: str, tmp_path: pathlib.Path) -> None:
    (site,) = find_weight_sites(_exported(tmp_path, name, scaled=False))
    assert (site.channel_axes, site.sum_axes, site.scales) == (*_CASES[name][3:5], ())


# A factor behind an Einsum with its weight on the left is folded by TensorFlow 2.21 and not by 2.16.
@pytest.mark.slow
@pytest.mark.parametrize(
    'name', [name for name in _CASES if name not in ('left', 'two columns', 'einsum on the left')]
)
def test_scales_and_folding_are_those_of_the_file(name: str, tmp_path: pathlib.Path) -> None:
    graph = _exported(tmp_path, name, scaled=True)
    (site,) = find_weight_sites(graph)
    assert bool(site.scales) == _CASES[name][5]
    model = convert_saved_model(str(tmp_path), 'serving_default')
    written = _constants(model)
    kernel = np.sort(folded_kernels(graph, (site,))[site.variable.key].ravel())
    (found,) = [key for key, value in written.items() if value.size == kernel.size]
    np.testing.assert_allclose(np.sort(written[found].ravel()), kernel, atol=1e-6)
    if site.channel_axes:
        quantized = flatbuffer.read(quantize_model(model, QuantizationOptions('DYNAMIC_INT8')))
        tensors = {flatbuffer.tensor_name(tensor): tensor for tensor in quantized.subgraphs[0].tensors}
        assert len(tensors[found].quantization.scale) == _channels(site)


def _constants(model: bytes) -> dict[str, np.ndarray]:
    content = flatbuffer.read(model)
    values = {
        flatbuffer.tensor_name(t): flatbuffer.constant(content, t) for t in content.subgraphs[0].tensors
    }
    return {name: value for name, value in values.items() if value is not None and value.dtype == np.float32}


def _channels(site: WeightSite) -> int:
    return int(np.prod([site.variable.value.shape[axis] for axis in site.channel_axes]))


def test_a_factor_that_is_not_one_per_channel_is_not_folded(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(tf.ones((6, 5)), name='weight')
    module.grid = tf.Variable(tf.ones((5, 1)), name='grid')
    module.call = tf.function(
        lambda x: {'y': tf.matmul(x, module.weight) * module.grid},
        input_signature=[tf.TensorSpec((None, 5, 6), tf.float32, name='x')],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.call})
    graph = open_graph(str(tmp_path))
    (site,) = find_weight_sites(graph)
    assert site.scales == ()


def test_a_table_is_found_whichever_way_it_is_looked_up(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.read = tf.Variable(tf.ones((7, 3)), name='read')
    module.gathered = tf.Variable(tf.ones((7, 3)), name='gathered')
    module.call = tf.function(
        lambda x: {'y': tf.gather(tf.identity(module.read), x) + tf.gather(module.gathered, x)},
        input_signature=[tf.TensorSpec((None,), tf.int32, name='x')],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.call})
    sites = find_weight_sites(open_graph(str(tmp_path)))
    assert {s.variable.name for s in sites} == {'read', 'gathered'}
    assert all((s.op, s.channel_axes) == ('GatherV2', ()) for s in sites)


def test_a_table_that_also_ends_the_net_has_one_scale(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.table = tf.Variable(tf.ones((7, 3)), name='table')
    module.call = tf.function(
        lambda x: {'y': tf.matmul(tf.gather(module.table, x), module.table, transpose_b=True)},
        input_signature=[tf.TensorSpec((None,), tf.int32, name='x')],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.call})
    (site,) = find_weight_sites(open_graph(str(tmp_path)))
    assert (site.channel_axes, site.scales) == ((), ())


@pytest.mark.parametrize('policy', ['mixed_float16', 'mixed_bfloat16'])
def test_weights_of_mixed_precision_are_found_behind_their_cast(policy: str, tmp_path: pathlib.Path) -> None:
    import keras

    inputs = keras.Input((8, 8, 1), name='image')
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, dtype=policy)(inputs))
    keras.Model(inputs, keras.layers.Dense(3, dtype=policy)(hidden)).export(str(tmp_path), verbose=False)
    sites = find_weight_sites(open_graph(str(tmp_path)))
    assert [(site.op, site.channel_axes) for site in sites] == [('Conv2D', (3,)), ('MatMul', (1,))]


def test_what_is_no_weight_is_named_with_the_reason(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = tf.Module()
    module.weight = tf.Variable(tf.ones((6, 5)), name='weight')
    module.added = tf.Variable(tf.ones((4, 5)), name='added')
    module.call = tf.function(
        lambda x: {'y': tf.matmul(x, module.weight) + module.added},
        input_signature=[tf.TensorSpec((None, 4, 6), tf.float32, name='x')],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.call})
    graph = open_graph(str(tmp_path))
    with caplog.at_level('INFO'):
        assert [site.variable.name for site in find_weight_sites(graph)] == ['weight']
        find_weight_sites(graph)
    assert caplog.text.count('added (4x5) is left as it is: its value goes to AddV2') == 1
