"""Statistics of batch norms after the weights changed: against Keras layers, and what has to stay as it is."""

from __future__ import annotations

import importlib
import itertools
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.batch_norm import find_batch_norms, re_estimate
from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.constraints.integer_grid import to_integers
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from .conftest import Batches, make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow

_PRUNING = make_pruning(0.6)
_CLUSTERING = ClusteringOptions(number_of_clusters=16, preserve_sparsity=True, include=(), exclude=())


def _keras_model(library: str) -> Any:
    """Batch norms on ranks 4, 4, 3 (channels first) and 2, with and without gamma and beta; drawn statistics."""
    keras = importlib.import_module(library)
    layers, norm = keras.layers, keras.layers.BatchNormalization
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1), name='image'),
            layers.Conv2D(6, 3, padding='same', use_bias=False, name='conv'),
            norm(name='plain'),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding='same', name='depthwise'),
            norm(scale=False, name='without_gamma'),
            layers.ReLU(),
            layers.Reshape((64, 6)),
            norm(axis=1, center=False, name='on_axis_1'),
            layers.Flatten(),
            layers.Dense(16, use_bias=False, name='hidden'),
            norm(center=False, scale=False, name='without_both'),
            layers.ReLU(),
            layers.Dense(10, activation='softmax', name='classes'),
        ]
    )
    random = np.random.default_rng(0)
    for layer in _batch_norms(model):
        layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def _batch_norms(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, 'moving_mean')]


def _saved(model: Any, folder: pathlib.Path) -> str:
    if type(model).__module__.startswith('tf_keras'):
        # model.save also traces the training of each layer, for half a minute.
        spec = tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image')
        function = tf.function(lambda image: {'classes': model(image)}, input_signature=[spec])
        tf.saved_model.save(model, str(folder), signatures={'serving_default': function})
    else:
        model.export(folder, verbose=False)
    return str(folder)


def _tail(name: str) -> str:
    """`layer/variable` of a variable's name or path."""
    return '/'.join(name.split(':')[0].split('/')[-2:])


def _full_name(variable: Any) -> str:
    return getattr(variable, 'path', variable.name)


def _assign(model: Any, values: Mapping[str, np.ndarray]) -> None:
    for layer in model.layers:
        layer.set_weights(
            [
                values.get(_tail(_full_name(v)), w)
                for v, w in zip(layer.weights, layer.get_weights(), strict=True)
            ]
        )


def _by_tail(graph: ServingGraph, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_tail(v.name): values[v.key] for v in graph.variables if v.key in values}


def _of_layer_inputs(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each batch norm's input, given to it before the next layer runs."""
    found = {}
    outputs = tf.constant(images)
    for layer in model.layers:
        if hasattr(layer, 'moving_mean'):
            seen = np.float64(outputs)
            channels = 1 if layer.name == 'on_axis_1' else seen.ndim - 1
            axes = tuple(axis for axis in range(seen.ndim) if axis != channels)
            found[f'{layer.name}/moving_mean'] = seen.mean(axes)
            found[f'{layer.name}/moving_variance'] = seen.var(axes)
            layer.moving_mean.assign(found[f'{layer.name}/moving_mean'])
            layer.moving_variance.assign(found[f'{layer.name}/moving_variance'])
        outputs = layer(outputs)
    return found


def _uneven(images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Batches of 64, 32, 7 and 97 images, then no more; with a feature that is no input."""
    for begin, end in itertools.pairwise((0, 64, 96, 103, 200)):
        yield {'image': images[begin:end], 'label': np.zeros(end - begin)}


@pytest.mark.parametrize('library', ['keras', 'tf_keras'])
def test_statistics_are_those_of_the_layers_inputs_in_keras(
    library: str, digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    model = _keras_model(library)
    graph = open_graph(_saved(model, tmp_path / 'model'))
    values = prune(graph, _PRUNING, make_options(0), None)
    found = _by_tail(graph, re_estimate(graph, values, _uneven(digits['x_train']), 4))
    _assign(model, _by_tail(graph, values))
    expected = _of_layer_inputs(model, digits['x_train'][:200])
    assert set(found) == set(expected)
    assert len(found) == 8
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


class _Norms(tf.Module):
    """One batch norm on channels in front, then a second whose statistics the variant treats in its own way."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.variant = variant
        random = np.random.default_rng(0)

        def statistic(name: str, trainable: bool = False) -> tf.Variable:
            value = random.uniform(0.5, 1.5, 3).astype(np.float32)
            return tf.Variable(value, name=name, trainable=trainable)

        self.mean, self.variance = statistic('own_mean'), statistic('own_variance')
        self.other_mean = statistic('other_mean', trainable=variant == 'trainable')
        self.other_variance = statistic('other_variance')

    def _other(self, values: tf.Tensor) -> tf.Tensor:
        if self.variant == 'hand-made':
            return (values - self.other_mean) / tf.sqrt(self.other_variance)
        return tf.nn.batch_normalization(values, self.other_mean, self.other_variance, None, None, 1e-3)

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        # Not run here: of a batch norm only its input is. A CPU has no kernel for channels in front.
        norm = tf.raw_ops.FusedBatchNormV3(
            x=tf.transpose(image, (0, 3, 1, 2)),
            scale=tf.ones(3),
            offset=tf.zeros(3),
            mean=self.mean,
            variance=self.variance,
            data_format='NCHW',
            is_training=False,
        )
        last = self._other(image)
        if self.variant == 'called twice':
            last = self._other(tf.nn.relu(last))
        if self.variant == 'used elsewhere':
            last = last + self.other_mean
        if self.variant == 'in a loop':
            last = tf.while_loop(lambda x: tf.reduce_max(x) > 9.0, lambda x: [self._other(x)], [last])[0]
        return {'first': norm.y, 'score': last}


def _norms(variant: str, folder: pathlib.Path) -> ServingGraph:
    module = _Norms(variant)
    tf.saved_model.save(module, str(folder), signatures={'predict': module.predict})
    return open_graph(str(folder))


@pytest.mark.parametrize('variant', ['trainable', 'called twice', 'used elsewhere', 'in a loop', 'hand-made'])
def test_statistics_that_are_not_those_of_one_batch_norm_alone_stay_and_are_named(
    variant: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = find_batch_norms(_norms(variant, tmp_path / 'model'))
    assert [(norm.mean.name, norm.variance.name) for norm in found] == [('own_mean', 'own_variance')]
    assert 'other_variance' in caplog.text
    assert 'own_' not in caplog.text


def test_channels_in_front_and_behind_have_the_same_statistics(
    digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    graph = _norms('plain', tmp_path / 'model')
    images = digits['x_train'][:60, :4, :4, :] ** np.array([1.0, 2.0, 3.0], np.float32)
    found = {v.name: re_estimate(graph, {}, iter([{'image': images}]), 1)[v.key] for v in graph.variables}
    for prefix in ('own', 'other'):
        seen = images.astype(np.float64)
        np.testing.assert_allclose(found[f'{prefix}_mean'], seen.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(found[f'{prefix}_variance'], seen.var((0, 1, 2)), rtol=1e-6)


@pytest.fixture(scope='module')
def norms_graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    """Two batch norms, side by side on the same images."""
    return _norms('plain', tmp_path_factory.mktemp('norms') / 'model')


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 29), unique=True, max_size=6), st.permutations(range(7)), st.floats(-1e3, 1e3))
def test_statistics_do_not_depend_on_how_examples_fall_into_batches(
    norms_graph: ServingGraph, cuts: list[int], order: list[int], offset: float
) -> None:
    images = np.random.default_rng(0).normal(offset, 1.0, (30, 4, 4, 3)).astype(np.float32)
    parts = np.split(images, sorted(cuts))
    shuffled = [{'image': parts[index]} for index in order if index < len(parts)]
    whole = re_estimate(norms_graph, {}, iter([{'image': images}]), 1)
    found = re_estimate(norms_graph, {}, iter(shuffled), len(shuffled))
    for key, value in whole.items():
        np.testing.assert_allclose(found[key], value, rtol=3e-7)


@pytest.mark.parametrize('source', ['digits_saved_model', 'tf_keras_saved_model'])
def test_integers_of_deployed_codebooks_and_zeros_stay(
    source: str, request: pytest.FixtureRequest, batches: Batches, tmp_path: pathlib.Path
) -> None:
    graph = open_graph(str(request.getfixturevalue(source)))
    values = cluster(graph, _CLUSTERING, make_options(0), None)
    statistics = re_estimate(graph, values, batches(graph), 4)
    stored = graph.stored_values()
    assert all(np.abs(value / stored[key] - 1).max() > 1e-3 for key, value in statistics.items())
    before = _deployed_integers(graph.folder, values, tmp_path / 'before')
    after = _deployed_integers(graph.folder, {**values, **statistics}, tmp_path / 'after')
    for name, integers in before.items():
        assert np.unique(integers).size <= 16
        np.testing.assert_array_equal(after[name], integers)


def _deployed_integers(
    source: str, values: Mapping[str, np.ndarray], target: pathlib.Path
) -> dict[str, np.ndarray]:
    write_with_values(source, str(target), values)
    graph = open_graph(str(target))
    sites = find_weight_sites(graph)
    kernels = folded_kernels(graph, sites)
    found = {s.variable.name: to_integers(kernels[s.variable.key], s.channel_axes) for s in sites}
    assert all(integers is not None for integers in found.values())
    return found  # type: ignore[return-value]


def _accuracy(folder: str, digits: Mapping[str, np.ndarray]) -> float:
    function = tf.saved_model.load(folder).signatures['serving_default']
    (output,) = function(image=tf.constant(digits['x_eval'])).values()
    return float(np.mean(np.argmax(output, 1) == digits['y_eval']))


def test_accuracy_that_one_shot_pruning_costs_comes_back_in_part(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], batches: Batches, tmp_path: pathlib.Path
) -> None:
    graph = open_graph(str(digits_saved_model))
    values = prune(graph, _PRUNING, make_options(0), None)
    write_with_values(graph.folder, str(tmp_path / 'before'), values)
    statistics = re_estimate(graph, values, batches(graph), 20)
    write_with_values(graph.folder, str(tmp_path / 'after'), {**values, **statistics})
    before, after = (_accuracy(str(tmp_path / name), digits) for name in ('before', 'after'))
    assert after > before + 0.05


def test_channel_without_weights_has_variance_0_and_leaves_the_outputs_finite(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], batches: Batches, tmp_path: pathlib.Path
) -> None:
    graph = open_graph(str(digits_saved_model))
    first = find_weight_sites(graph)[0].variable
    kernel = first.value.copy()
    kernel[..., 0] = 0.0
    statistics = re_estimate(graph, {first.key: kernel}, batches(graph), 4)
    norm = find_batch_norms(graph)[0]
    assert (statistics[norm.mean.key][0], statistics[norm.variance.key][0]) == (0.0, 0.0)
    write_with_values(graph.folder, str(tmp_path / 'model'), {first.key: kernel, **statistics})
    function = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
    (output,) = function(image=tf.constant(digits['x_eval'])).values()
    assert np.isfinite(output.numpy()).all()


def test_same_batches_give_the_same_bytes(digits_saved_model: pathlib.Path, batches: Batches) -> None:
    runs = []
    for _ in range(2):
        graph = open_graph(str(digits_saved_model))
        found = re_estimate(graph, prune(graph, _PRUNING, make_options(0), None), batches(graph), 5)
        runs.append({key: value.tobytes() for key, value in found.items()})
    assert runs[0] == runs[1]


def test_no_batches_leave_the_statistics_and_take_none(norms_graph: ServingGraph) -> None:
    stream = iter([{'image': np.zeros((1, 4, 4, 3), np.float32)}])
    assert re_estimate(norms_graph, {}, stream, 0) == {}
    assert len(list(stream)) == 1


def test_fewer_batches_than_asked_for_are_an_error(norms_graph: ServingGraph) -> None:
    stream = iter([{'image': np.zeros((1, 4, 4, 3), np.float32)}])
    with pytest.raises(EdgeError, match=r'there are 1 training batches; .* asks for 2'):
        re_estimate(norms_graph, {}, stream, 2)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_value_that_is_not_finite_is_an_error_that_names_the_batch_norm(
    norms_graph: ServingGraph, value: float
) -> None:
    images = np.zeros((1, 4, 4, 3), np.float32)
    images[0, 0, 0, 0] = value
    with pytest.raises(
        EdgeError, match=r"batch norm of '(own|other)_mean' sees values that are NaN or infinite"
    ):
        re_estimate(norms_graph, {}, iter([{'image': images}]), 1)
