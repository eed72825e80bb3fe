"""Whole architectures, pruned and then clustered: what holds in the SavedModel and in the file made of it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.constraints.integer_grid import to_integers
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model

from .conftest import make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow

_BATCH, _STEPS, _CLUSTERS, _SPARSITY = 16, 10, 8, 0.75
_PRUNING = make_pruning(_SPARSITY)
_CLUSTERING = ClusteringOptions(number_of_clusters=_CLUSTERS, preserve_sparsity=True, include=(), exclude=())
# Where operators of a file take their weights; an LSTM has each of its two in four parts.
_WEIGHTS: dict[str, tuple[tuple[int, ...], ...]] = {
    'CONV_2D': ((1,),),
    'DEPTHWISE_CONV_2D': ((1,),),
    'TRANSPOSE_CONV': ((1,),),
    'CONV_3D': ((1,),),
    'FULLY_CONNECTED': ((1,),),
    'BATCH_MATMUL': ((0,), (1,)),
    'GATHER': ((0,),),
    'UNIDIRECTIONAL_SEQUENCE_LSTM': ((1, 2, 3, 4), (5, 6, 7, 8)),
}


@pytest.fixture(params=['keras', 'tf_keras'])
def framework(request: pytest.FixtureRequest) -> Any:
    """Keras 3 and Keras 2."""
    return pytest.importorskip(request.param)


def _trained(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """A few steps; eager, as compiling the training function takes longer than they do."""
    model.compile('adam', 'sparse_categorical_crossentropy', run_eagerly=True)
    for start in range(0, 4 * _BATCH, _BATCH):
        model.train_on_batch(x[start : start + _BATCH], y[start : start + _BATCH])
    return model


def _exported(model: Any, folder: pathlib.Path) -> str:
    model.export(str(folder))
    return str(folder)


def _stream(graph: ServingGraph, x: np.ndarray) -> Iterator[Mapping[str, np.ndarray]]:
    (name,) = graph.inputs
    random = np.random.default_rng(0)
    while True:
        yield {name: x[random.choice(len(x), _BATCH, replace=False)]}


def _pruned_and_clustered(source: str, x: np.ndarray, folder: pathlib.Path) -> str:
    for technique in ('pruned', 'clustered'):
        graph = open_graph(source)
        options = make_options(_STEPS, batch_size=_BATCH)
        values = (
            prune(graph, _PRUNING, options, _stream(graph, x))
            if technique == 'pruned'
            else cluster(graph, _CLUSTERING, options, _stream(graph, x))
        )
        write_with_values(source, str(folder / technique), values)
        source = str(folder / technique)
    return source


def _check_saved_model(folder: str, weights: int) -> None:
    """Each weight has its zeros, and few values as deployed; `weights` of them were found."""
    graph = open_graph(folder)
    sites = find_weight_sites(graph)
    assert len(sites) == weights
    kernels = folded_kernels(graph, sites)
    for site in sites:
        value = site.variable.value
        assert np.count_nonzero(value == 0) == round(_SPARSITY * value.size), site.variable.name
        integers = to_integers(kernels[site.variable.key], site.channel_axes)
        assert integers is not None, site.variable.name
        assert np.unique(integers).size <= _CLUSTERS, site.variable.name
        if not site.channel_axes and not site.scales:
            assert np.unique(value).size <= _CLUSTERS, site.variable.name


def _check_file(folder: str, operators: set[str]) -> None:
    """The same of a file with eight-bit weights, whose weights belong to these operators."""
    model = convert_saved_model(folder, open_graph(folder).signature.name)
    content = flatbuffer.read(quantize_model(model, QuantizationOptions('DYNAMIC_INT8')))
    found = set()
    for graph in content.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(content, operator)
            for positions in _WEIGHTS.get(name, ()):
                tensors = [graph.tensors[operator.inputs[position]] for position in positions]
                weights = [flatbuffer.constant(content, tensor) for tensor in tensors]
                if any(weight is None or weight.dtype.kind not in 'fi' for weight in weights):
                    continue
                found.add(name)
                values = np.concatenate([np.ravel(weight) for weight in weights])
                assert np.unique(values).size <= _CLUSTERS, name
                assert np.count_nonzero(values == 0) >= _SPARSITY * values.size - 1, name
    assert found == operators


def _rows(digits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images as eight steps of eight numbers."""
    return digits['x_train'][..., 0]


@pytest.mark.parametrize('layer', ['LSTM', 'GRU'])
def test_kernels_inside_of_loops(
    framework: Any, layer: str, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    framework.utils.set_random_seed(0)
    inputs = framework.Input(shape=(8, 8), batch_size=_BATCH, name='rows')
    hidden = getattr(framework.layers, layer)(12)(inputs)
    model = framework.Model(inputs, framework.layers.Dense(10, activation='softmax')(hidden))
    source = _exported(_trained(model, _rows(digits), digits['y_train']), tmp_path / 'model')
    folder = _pruned_and_clustered(source, _rows(digits), tmp_path)
    _check_saved_model(folder, weights=3)
    if framework.__name__ == 'tf_keras':  # LiteRT has no kernels for the lists of Keras 3's loop
        recurrent = {'UNIDIRECTIONAL_SEQUENCE_LSTM'} if layer == 'LSTM' else set()
        _check_file(folder, {'FULLY_CONNECTED', *recurrent})


def test_a_mobilenet(digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    images = np.repeat(np.kron(digits['x_train'][:128], np.ones((1, 4, 4, 1), np.float32)), 3, -1)
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    folder = _pruned_and_clustered(_exported(model, tmp_path / 'model'), images, tmp_path)
    _check_saved_model(folder, weights=53)
    _check_file(folder, {'CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED'})


def test_a_transformer_with_its_embedding(
    framework: Any, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    framework.utils.set_random_seed(0)
    layers = framework.layers
    tokens = (digits['x_train'].reshape(-1, 16, 4).mean(-1) * 16).astype(np.int32)
    inputs = framework.Input((16,), dtype='int32', name='tokens')
    embedded = layers.Embedding(17, 16)(inputs)
    attended = layers.MultiHeadAttention(2, 8)(embedded, embedded)
    hidden = layers.LayerNormalization()(layers.Add()([embedded, attended]))
    forward = layers.Dense(16)(layers.Dense(32, activation='relu')(hidden))
    pooled = layers.GlobalAveragePooling1D()(layers.Add()([hidden, forward]))
    model = framework.Model(inputs, layers.Dense(10, activation='softmax')(pooled))
    source = _exported(_trained(model, tokens, digits['y_train']), tmp_path / 'model')
    folder = _pruned_and_clustered(source, tokens, tmp_path)
    _check_saved_model(folder, weights=8)
    _check_file(folder, {'GATHER', 'FULLY_CONNECTED'})


def test_a_subclassed_model(digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
    import keras

    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = keras.layers.Conv2D(8, 3, padding='same', use_bias=False)
            self.norm = keras.layers.BatchNormalization()
            self.up = keras.layers.Conv2DTranspose(4, 3, strides=2)
            self.dense = keras.layers.Dense(10, activation='softmax')

        def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
            hidden = keras.ops.relu(self.norm(self.conv(images), training=training))
            return self.dense(keras.ops.mean(self.up(hidden), (1, 2)))

    keras.utils.set_random_seed(0)
    model = _trained(Net(), digits['x_train'], digits['y_train'])
    folder = _pruned_and_clustered(_exported(model, tmp_path / 'model'), digits['x_train'], tmp_path)
    _check_saved_model(folder, weights=3)
    _check_file(folder, {'CONV_2D', 'TRANSPOSE_CONV', 'FULLY_CONNECTED'})


def test_a_nested_model(digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
    tf_keras = pytest.importorskip('tf_keras')
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    stem = [layers.Conv1D(8, 3), layers.BatchNormalization(), layers.ReLU(), layers.DepthwiseConv1D(3)]
    block = tf_keras.Sequential([layers.Input((8, 8)), *stem])
    inputs = tf_keras.Input((8, 8), name='rows')
    hidden = layers.Flatten()(layers.Dense(8)(tf_keras.Sequential([block, layers.ReLU()])(inputs)))
    model = tf_keras.Model(inputs, layers.Dense(10, activation='softmax')(hidden))
    source = _exported(_trained(model, _rows(digits), digits['y_train']), tmp_path / 'model')
    folder = _pruned_and_clustered(source, _rows(digits), tmp_path)
    _check_saved_model(folder, weights=4)
    _check_file(folder, {'CONV_2D', 'DEPTHWISE_CONV_2D', 'FULLY_CONNECTED'})


class _Module(tf.Module):
    """Products of every form, and a volume."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def variable(name: str, *shape: int) -> tf.Variable:
            return tf.Variable(random.normal(0, 0.3, shape).astype(np.float32), name=name)

        self.volume = variable('volume', 3, 3, 1, 1, 8)
        self.heads = variable('heads', 8, 2, 8)
        self.joined = variable('joined', 2, 8, 12)
        self.experts = variable('experts', 2, 8, 12)
        self.transposed = variable('transposed', 10, 12)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        volume = tf.nn.conv3d(image[..., tf.newaxis], self.volume, [1] * 5, 'VALID')
        hidden = tf.nn.relu(tf.reshape(volume, (-1, 36, 8)))
        joined = tf.einsum('abcd,cde->abe', tf.einsum('abc,cde->abde', hidden, self.heads), self.joined)
        experts = tf.matmul(tf.reshape(hidden, (-1, 2, 18, 8)), self.experts)
        pooled = tf.reduce_mean(joined, 1) + tf.reduce_mean(experts, (1, 2))
        return {'score': tf.matmul(pooled, self.transposed, transpose_b=True)}


def test_a_module_with_products_of_every_form(digits: dict[str, np.ndarray], tmp_path: pathlib.Path) -> None:
    module = _Module()
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'predict': module.predict})
    folder = _pruned_and_clustered(str(tmp_path / 'model'), digits['x_train'], tmp_path)
    _check_saved_model(folder, weights=5)
    _check_file(folder, {'CONV_3D', 'BATCH_MATMUL', 'FULLY_CONNECTED'})
