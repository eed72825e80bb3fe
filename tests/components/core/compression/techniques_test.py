"""Pruning and clustering of whole models: what they promise, alone and one after the other."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints.codebook import groups
from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.constraints.integer_grid import to_integers
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from .conftest import Batches, make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow

_CLUSTERING = ClusteringOptions(number_of_clusters=16, preserve_sparsity=True, include=(), exclude=())


def _written(source: str, values: Mapping[str, np.ndarray], target: pathlib.Path) -> str:
    write_with_values(source, str(target), values)
    return str(target)


def _accuracy(
    source: str, values: Mapping[str, np.ndarray], digits: Mapping[str, np.ndarray], folder: pathlib.Path
) -> float:
    written = _written(source, values, folder / f'accuracy-{len(list(folder.iterdir()))}')
    function = tf.saved_model.load(written).signatures['serving_default']
    (output,) = function(image=tf.constant(digits['x_eval'])).values()
    return float(np.mean(np.argmax(output, 1) == digits['y_eval']))


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
    folder = _written(
        saved_model, prune(graph, make_pruning(), make_options(num_steps), stream), tmp_path / 'p'
    )
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


@pytest.mark.parametrize(('granularity', 'initialization'), [('TENSOR', 'LINEAR'), ('CHANNEL', 'DENSITY')])
def test_clusters_of_floats_are_few_in_what_shares_them(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, granularity: str, initialization: str
) -> None:
    graph = open_graph(saved_model)
    options = dataclasses.replace(
        _CLUSTERING, number_of_clusters=4, granularity=granularity, initialization=initialization
    )
    values = cluster(graph, options, make_options(20), batches(graph))
    for site in find_weight_sites(graph):
        rows = groups(values[site.variable.key], site.channel_axes if granularity == 'CHANNEL' else ())
        assert max(np.unique(row).size for row in rows) <= 4


def test_members_of_a_codebook_are_trained(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], batches: Batches, tmp_path: pathlib.Path
) -> None:
    source = str(digits_saved_model)
    four = dataclasses.replace(_CLUSTERING, number_of_clusters=4)
    graph = open_graph(source)
    placed = cluster(graph, four, make_options(0), None)
    trained = cluster(graph, four, make_options(300), batches(graph))

    def members(values: Mapping[str, np.ndarray]) -> set[tuple[int, ...]]:
        folder = _written(source, values, tmp_path / str(len(list(tmp_path.iterdir()))))
        written = open_graph(folder)
        sites = find_weight_sites(written)
        integers = [
            to_integers(k, s.channel_axes)
            for s, k in zip(sites, folded_kernels(written, sites).values(), strict=True)
        ]
        return {tuple(np.unique(found)) for found in integers if found is not None}

    assert members(placed) != members(trained)
    assert _accuracy(source, placed, digits, tmp_path) + 0.1 < _accuracy(source, trained, digits, tmp_path)


@pytest.mark.parametrize('first', ['prune', 'cluster'])
def test_both_orders_hold_zeros_and_clusters(
    saved_model: str, batches: Batches, tmp_path: pathlib.Path, first: str
) -> None:
    steps = ['prune', 'cluster'] if first == 'prune' else ['cluster', 'prune']
    folder = saved_model
    for step in steps:
        graph = open_graph(folder)
        values = (
            prune(graph, make_pruning(), make_options(30), batches(graph))
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
    values = prune(graph, make_pruning(exclude=('depthwise',)), make_options(0), None)
    folder = _written(str(digits_saved_model), values, tmp_path / 'p')
    zeros = {name: found[0] for name, found in _zeros_and_clusters(folder).items()}
    assert all((count == 0) == ('depthwise' in name) for name, count in zeros.items())


def test_distillation_recovers_the_accuracy_that_pruning_costs(
    digits_saved_model: pathlib.Path, digits: dict[str, np.ndarray], batches: Batches, tmp_path: pathlib.Path
) -> None:
    source = str(digits_saved_model)
    graph = open_graph(source)
    before = _accuracy(source, {}, digits, tmp_path)
    at_once = _accuracy(source, prune(graph, make_pruning(0.5), make_options(0), None), digits, tmp_path)
    values = prune(graph, make_pruning(0.5), make_options(1000), batches(graph))
    trained = _accuracy(source, values, digits, tmp_path)
    assert trained > at_once + 0.1
    assert trained > before - 0.03


def test_the_same_seed_gives_the_same_values_and_another_seed_others(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    def run(seed: int) -> dict[str, np.ndarray]:
        graph = open_graph(str(digits_saved_model))
        return prune(graph, make_pruning(), make_options(25, seed=seed), batches(graph, seed=seed))

    first, again, other = run(0), run(0), run(1)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_labels_train_without_a_teacher(digits_saved_model: pathlib.Path, batches: Batches) -> None:
    graph = open_graph(str(digits_saved_model))
    options = make_options(5, loss='LABELS', label_key='label', label_loss='sparse_categorical_crossentropy')
    values = prune(graph, make_pruning(), options, batches(graph, label_key='label'))
    assert all(np.isfinite(value).all() for value in values.values())
    with pytest.raises(EdgeError, match="label_loss is 'no_such_loss'; expected the name of a Keras loss"):
        prune(
            graph,
            make_pruning(),
            make_options(5, loss='BOTH', label_key='label', label_loss='no_such_loss'),
            batches(graph, label_key='label'),
        )


def test_a_diverging_loss_is_reported_with_its_remedy(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    graph = open_graph(str(digits_saved_model))
    options = make_options(20, learning_rate=1e30, optimizer='SGD')
    with pytest.raises(EdgeError, match=r'the loss is nan .* Lower FineTuning.learning_rate'):
        prune(graph, make_pruning(), options, batches(graph))
