"""Pruning and clustering of whole models: what they promise, alone and one after the other."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.checkpoint import write_with_values
from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constrained_model import folded_kernels
from tfx_edge.components.core.compression.integer_grid import to_integers
from tfx_edge.components.core.compression.pruning import PruningOptions, prune
from tfx_edge.components.core.compression.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from .conftest import Batches, make_options, open_graph


def _pruning(target: float = 0.75, **changes: object) -> PruningOptions:
    options = {
        'initial_sparsity': 0.0,
        'schedule': 'POLYNOMIAL',
        'power': 3.0,
        'begin_step': 0,
        'end_step': 0,
        'frequency': 0,
        'include': (),
        'exclude': (),
    }
    return PruningOptions(target_sparsity=target, **{**options, **changes})  # type: ignore[arg-type]


_CLUSTERING = ClusteringOptions(number_of_clusters=16, preserve_sparsity=True, include=(), exclude=())


def _written(source: str, values: Mapping[str, np.ndarray], target: pathlib.Path) -> str:
    write_with_values(source, str(target), values)
    return str(target)


def _zeros_and_clusters(folder: str) -> dict[str, tuple[int, int, int]]:
    """(zeros, weights, distinct deployed integers) by variable name."""
    graph = open_graph(folder)
    sites = find_weight_sites(graph)
    kernels = folded_kernels(graph, sites)
    found = {}
    for site in sites:
        value = site.variable.value
        integers = to_integers(kernels[site.variable.key], site.channel_axes)
        distinct = np.unique(integers).size if integers is not None else value.size
        found[site.variable.name] = (int(np.count_nonzero(value == 0)), value.size, distinct)
    return found


@pytest.mark.parametrize('num_steps', [0, 40])
def test_pruning_meets_the_target_exactly_in_every_weight(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, num_steps: int
) -> None:
    graph = open_graph(saved_model)
    stream = batches(graph) if num_steps else None
    folder = _written(saved_model, prune(graph, _pruning(), make_options(num_steps), stream), tmp_path / 'p')
    for zeros, size, _ in _zeros_and_clusters(folder).values():
        assert zeros == round(0.75 * size)


@pytest.mark.parametrize('num_steps', [0, 40])
def test_clustering_leaves_at_most_k_integers_in_every_weight(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, num_steps: int
) -> None:
    graph = open_graph(saved_model)
    stream = batches(graph) if num_steps else None
    folder = _written(
        saved_model, cluster(graph, _CLUSTERING, make_options(num_steps), stream), tmp_path / 'c'
    )
    for _, _, distinct in _zeros_and_clusters(folder).values():
        assert distinct <= 16


@pytest.mark.parametrize('first', ['prune', 'cluster'])
def test_both_orders_hold_zeros_and_clusters(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, first: str
) -> None:
    steps = ['prune', 'cluster'] if first == 'prune' else ['cluster', 'prune']
    folder = saved_model
    for step in steps:
        graph = open_graph(folder)
        values = (
            prune(graph, _pruning(), make_options(30), batches(graph))
            if step == 'prune'
            else cluster(graph, _CLUSTERING, make_options(30), batches(graph))
        )
        folder = _written(folder, values, tmp_path / step)
    for zeros, size, distinct in _zeros_and_clusters(folder).values():
        assert zeros == round(0.75 * size)
        assert distinct <= 16


def test_excluded_weights_are_trained_but_not_pruned(
    digits_saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    graph = open_graph(str(digits_saved_model))
    values = prune(graph, _pruning(exclude=('depthwise',)), make_options(0), None)
    folder = _written(str(digits_saved_model), values, tmp_path / 'p')
    zeros = {name: found[0] for name, found in _zeros_and_clusters(folder).items()}
    assert all((count == 0) == ('depthwise' in name) for name, count in zeros.items())


def test_distillation_recovers_the_accuracy_that_pruning_costs(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], batches: Batches, tmp_path: pathlib.Path
) -> None:
    def accuracy(folder: str) -> float:
        function = tf.saved_model.load(folder).signatures['serving_default']
        (output,) = function(image=tf.constant(digits['x_eval'])).values()
        return float(np.mean(np.argmax(output, 1) == digits['y_eval']))

    source = str(digits_saved_model)
    graph = open_graph(source)
    at_once = _written(source, prune(graph, _pruning(0.5), make_options(0), None), tmp_path / 'at_once')
    trained = _written(
        source, prune(graph, _pruning(0.5), make_options(1000), batches(graph)), tmp_path / 'trained'
    )
    assert accuracy(trained) > accuracy(at_once) + 0.1
    assert accuracy(trained) > accuracy(source) - 0.03


def test_the_same_seed_gives_the_same_values_and_another_seed_others(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    def run(seed: int) -> dict[str, np.ndarray]:
        graph = open_graph(str(digits_saved_model))
        return prune(graph, _pruning(), make_options(25, seed=seed), batches(graph, seed=seed))

    first, again, other = run(0), run(0), run(1)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_labels_train_without_a_teacher(digits_saved_model: pathlib.Path, batches: Batches) -> None:
    graph = open_graph(str(digits_saved_model))
    options = make_options(5, loss='LABELS', label_key='label', label_loss='sparse_categorical_crossentropy')
    values = prune(graph, _pruning(), options, batches(graph, label_key='label'))
    assert all(np.isfinite(value).all() for value in values.values())
    with pytest.raises(EdgeError, match="label_loss is 'no_such_loss'; expected the name of a Keras loss"):
        prune(
            graph,
            _pruning(),
            make_options(5, loss='BOTH', label_key='label', label_loss='no_such_loss'),
            batches(graph, label_key='label'),
        )


def test_a_diverging_loss_is_told_with_its_remedy(digits_saved_model: pathlib.Path, batches: Batches) -> None:
    graph = open_graph(str(digits_saved_model))
    options = make_options(20, learning_rate=1e30, optimizer='SGD')
    with pytest.raises(EdgeError, match=r'the loss is nan .* Lower FineTuning.learning_rate'):
        prune(graph, _pruning(), options, batches(graph))
