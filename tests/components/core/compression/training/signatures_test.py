"""Training through signatures of several inputs, outputs and dtypes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.training.user_functions import UserFunctions
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from ..conftest import make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow


class _TwoTowers(tf.Module):
    """An image and a word in; probabilities, an embedding of half precision, and the index of the class out."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def variable(name: str, *shape: int) -> tf.Variable:
            return tf.Variable(random.normal(size=shape).astype(np.float32) / 4, name=name)

        self.kernel, self.table = variable('kernel', 64, 16), variable('table', 12, 16)
        self.head, self.projection = variable('head', 16, 5), variable('projection', 16, 4)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 8, 8, 1), tf.float32, name='image'),
            tf.TensorSpec((None,), tf.int64, name='word'),
        ]
    )
    def predict(self, image: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.reshape(image, (-1, 64)) @ self.kernel + tf.gather(self.table, word)
        half = tf.cast(tf.nn.relu(hidden), tf.float16)
        probabilities = tf.nn.softmax(tf.nn.relu(hidden) @ self.head)
        return {
            'class': tf.argmax(probabilities, 1),
            'embedding': half @ tf.cast(self.projection, tf.float16),
            'probabilities': probabilities,
        }


@pytest.fixture(scope='module')
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel of `_TwoTowers`."""
    module = _TwoTowers()
    folder = tmp_path_factory.mktemp('two_towers') / 'saved_model'
    tf.saved_model.save(module, str(folder), signatures={'serving_default': module.predict})
    return str(folder)


def _batches(with_label: bool = False) -> Iterator[Mapping[str, np.ndarray]]:
    random = np.random.default_rng(1)
    while True:
        batch = {
            'image': random.random((32, 8, 8, 1), np.float32),
            'word': random.integers(0, 12, 32),
        }
        yield {**batch, 'label': random.integers(0, 5, 32)} if with_label else batch


def _distance(graph_folder: str, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean squared distance of each floating output to the incoming model's, on other examples."""
    graph = open_graph(graph_folder)
    random = np.random.default_rng(2)
    inputs = {'image': random.random((256, 8, 8, 1), np.float32), 'word': random.integers(0, 12, 256)}

    @tf.function(autograph=False)
    def outputs() -> list[list[tf.Tensor]]:
        given = {name: tf.constant(value) for name, value in inputs.items()}
        fetch = list(graph.outputs.values())
        new = {key: tf.constant(value) for key, value in values.items()}
        return [graph.call(given, {}, fetch), graph.call(given, new, fetch)]

    before, after = outputs()
    return {
        name: float(np.square(np.subtract(a, b, dtype=np.float64)).mean())
        for name, a, b in zip(graph.outputs, before, after, strict=True)
    }


def test_every_floating_output_is_distilled_whatever_its_kind_and_dtype(two_towers: str) -> None:
    graph = open_graph(two_towers)
    assert {site.variable.name for site in find_weight_sites(graph)} == {
        'kernel',
        'table',
        'head',
        'projection',
    }
    at_once = prune(graph, make_pruning(0.6), make_options(0), None)
    trained = prune(graph, make_pruning(0.6), make_options(200, batch_size=32), _batches())
    before, after = _distance(two_towers, at_once), _distance(two_towers, trained)
    assert after['probabilities'] < before['probabilities'] / 2
    assert after['embedding'] < before['embedding'] / 2


def test_clusters_are_trained_through_both_towers(two_towers: str) -> None:
    graph = open_graph(two_towers)
    options = ClusteringOptions(number_of_clusters=4, preserve_sparsity=True, include=(), exclude=())
    at_once = cluster(graph, options, make_options(0), None)
    trained = cluster(graph, options, make_options(200, batch_size=32), _batches())
    before, after = _distance(two_towers, at_once), _distance(two_towers, trained)
    assert after['probabilities'] < before['probabilities']
    assert after['embedding'] < before['embedding']


def test_labels_of_one_of_several_outputs_are_for_a_loss_of_the_user(two_towers: str) -> None:
    graph = open_graph(two_towers)
    labels = {'loss': 'LABELS', 'label_key': 'label', 'label_loss': 'sparse_categorical_crossentropy'}
    with pytest.raises(EdgeError, match=r'one floating output \(found: .*\); use .* a module with a loss_fn'):
        prune(graph, make_pruning(), make_options(3, **labels), _batches(with_label=True))

    def loss_fn(
        features: Mapping[str, tf.Tensor], teacher: Mapping[str, tf.Tensor], student: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        picked = tf.gather(student['probabilities'], features['label'], batch_dims=1)
        return -tf.reduce_mean(tf.math.log(picked + 1e-6))

    options = make_options(5, label_key='label', functions=UserFunctions(loss_fn=loss_fn))
    values = prune(graph, make_pruning(), options, _batches(with_label=True))
    assert all(np.isfinite(value).all() for value in values.values())


def test_variables_of_other_precision_are_left_as_they_are_and_named(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Half(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.Variable(np.ones((8, 4), np.float32), name='first')
            self.half = tf.Variable(np.ones((4, 3), np.float16), name='half')

        @tf.function(input_signature=[tf.TensorSpec((None, 8), tf.float32, name='x')])
        def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': tf.cast(x @ self.first, tf.float16) @ self.half}

    module = Half()
    tf.saved_model.save(module, str(tmp_path / 'm'), signatures={'serving_default': module.predict})
    graph = open_graph(str(tmp_path / 'm'))
    with caplog.at_level('INFO'):
        values = prune(graph, make_pruning(0.5), make_options(0), None)
    assert [np.mean(value == 0) for value in values.values()] == [0.5]
    assert 'half (4x3) is left as it is: it is not float32' in caplog.text
