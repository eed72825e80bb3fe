"""Weights that no example gives a gradient have no effect: they go first, and what a rare feature needs stays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_effect import weights_that_read_units
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import make_options, make_pruning, open_graph

_DEAD = [1, 3]
_RARE = 5


class _DeadUnits(tf.Module):
    """Two of four hidden units are never above zero; the feature `_RARE` is zero in all examples."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        bias = np.full(4, 0.5, np.float32)
        bias[_DEAD] = -1000.0
        self.table = tf.Variable(random.normal(size=(8, 6)).astype(np.float32), name='table')
        self.first = tf.Variable(random.normal(size=(6, 4)).astype(np.float32), name='first')
        self.bias = tf.Variable(bias, name='bias')
        last = random.normal(size=(4, 3)).astype(np.float32)
        last[_DEAD] *= 10.0
        self.last = tf.Variable(last, name='last')

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 6), tf.float32, name='x'),
            tf.TensorSpec((None,), tf.int32, name='word'),
        ]
    )
    def serve(self, x: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(x @ self.first + self.bias)
        return {'y': hidden @ self.last, 'z': tf.gather(self.table, word)}


@pytest.fixture(scope='module')
def dead_units(tmp_path_factory: pytest.TempPathFactory) -> str:
    module, folder = _DeadUnits(), str(tmp_path_factory.mktemp('dead') / 'model')
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    return folder


def _batches() -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    while True:
        x = random.normal(size=(32, 6)).astype(np.float32)
        x[:, _RARE] = 0.0
        yield {'x': x, 'word': random.integers(0, 5, 32).astype(np.int32)}


def test_weights_of_dead_units_are_dropped_first_whatever_their_magnitude(dead_units: str) -> None:
    graph = open_graph(dead_units)
    pruned = prune(graph, make_pruning(0.5), make_options(40), _batches())
    by_name = {site.variable.name: pruned[site.variable.key] for site in find_weight_sites(graph)}
    assert not by_name['last'][_DEAD].any()
    assert np.count_nonzero(by_name['last']) == 6
    assert not by_name['first'][:, _DEAD].any()
    assert np.count_nonzero(by_name['first']) == 12


def test_weights_of_features_that_were_zero_in_all_examples_are_ranked_by_magnitude(dead_units: str) -> None:
    graph = open_graph(dead_units)
    pruned = prune(graph, make_pruning(0.5), make_options(40), _batches())
    by_name = {site.variable.name: pruned[site.variable.key] for site in find_weight_sites(graph)}
    assert by_name['first'][_RARE].any()
    # The words 5, 6 and 7 were in no example.
    assert np.count_nonzero(by_name['table'][5:]) > 4


def test_only_weights_behind_other_weights_read_units(dead_units: str) -> None:
    graph = open_graph(dead_units)
    reading = weights_that_read_units(graph)
    assert [v.name for v in graph.variables if v.key in reading] == ['last']
