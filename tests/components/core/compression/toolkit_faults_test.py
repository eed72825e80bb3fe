"""What TensorFlow Model Optimization 0.8.1 gets wrong in pruning and clustering, and has to be right here."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints.codebook import groups
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from .conftest import Batches, make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow


def _share_of_zeros(value: np.ndarray) -> float:
    return float(np.mean(value == 0))


def test_a_layer_without_zeros_does_not_switch_off_those_of_the_layers_behind_it(
    digits_saved_model: pathlib.Path, batches: Batches, tmp_path: pathlib.Path
) -> None:
    graph = open_graph(str(digits_saved_model))
    first = find_weight_sites(graph)[0].variable
    pruned = prune(graph, make_pruning(0.75, exclude=(f'^{first.name}$',)), make_options(0), None)
    write_with_values(str(digits_saved_model), str(tmp_path / 'pruned'), pruned)
    graph = open_graph(str(tmp_path / 'pruned'))
    clustering = ClusteringOptions(number_of_clusters=8, preserve_sparsity=True, include=(), exclude=())
    clustered = cluster(graph, clustering, make_options(20), batches(graph))
    assert (clustered[first.key] != 0).all()
    for site in find_weight_sites(graph)[1:]:
        np.testing.assert_array_equal(clustered[site.variable.key] == 0, pruned[site.variable.key] == 0)
        assert _share_of_zeros(clustered[site.variable.key]) == 0.75


@pytest.mark.parametrize('num_steps', [40, 150])
def test_the_target_is_met_whatever_the_number_of_steps(
    digits_saved_model: pathlib.Path, batches: Batches, num_steps: int
) -> None:
    graph = open_graph(str(digits_saved_model))
    values = prune(graph, make_pruning(0.8, end_step=num_steps), make_options(num_steps), batches(graph))
    for site in find_weight_sites(graph):
        value = values[site.variable.key]
        assert np.count_nonzero(value == 0) == np.floor(0.8 * value.size + 0.5)


def test_tied_magnitudes_are_pruned_to_the_target(tmp_path: pathlib.Path) -> None:
    class Tied(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(
                np.where(np.arange(64).reshape(16, 4) % 3, 0.5, -0.5).astype(np.float32)
            )

        @tf.function(input_signature=[tf.TensorSpec((None, 16), tf.float32, name='x')])
        def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {'y': x @ self.kernel}

    module = Tied()
    tf.saved_model.save(module, str(tmp_path / 'tied'), signatures={'predict': module.predict})
    graph = open_graph(str(tmp_path / 'tied'))
    (value,) = prune(graph, make_pruning(0.25), make_options(0), None).values()
    assert _share_of_zeros(value) == 0.25


def test_channels_of_a_transposed_convolution_are_its_outputs(many_kernels: str, batches: Batches) -> None:
    graph = open_graph(many_kernels)
    (site,) = (site for site in find_weight_sites(graph) if site.op == 'Conv2DBackpropInput')
    clustering = ClusteringOptions(
        number_of_clusters=3, preserve_sparsity=True, include=(), exclude=(), granularity='CHANNEL'
    )
    value = cluster(graph, clustering, make_options(10), batches(graph))[site.variable.key]
    outputs, inputs = groups(value, (2,)), groups(value, (3,))
    assert max(np.unique(row).size for row in outputs) <= 3
    assert max(np.unique(row).size for row in inputs) > 3
