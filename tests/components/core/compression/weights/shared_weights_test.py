"""Weights that several operations use: their clusters hold in every kernel that the file makes of them."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.clustering import ClusteringOptions, cluster
from tfx_edge.components.core.compression.constraints.constrained_model import incoming_constraints
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weight_summary import summarize_weights
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

from ..conftest import make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow
_CLUSTERS = 16
_ALONG_OTHER_AXES = {'table', 'there_and_back', 'tied'}


class _Shared(tf.Module):
    """Each weight has a size of its own, by which it is found in the file."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)

        def weight(name: str, *shape: int) -> tf.Variable:
            rows = random.uniform(0.3, 1.5, (*shape[:-1], 1)) * random.uniform(0.3, 1.5, (1, shape[-1]))
            return tf.Variable((random.normal(size=shape) * rows).astype(np.float32), name=name)

        self.table = weight('table', 30, 12)
        self.tied = weight('tied', 20, 8)
        self.there_and_back = weight('there_and_back', 12, 10)
        self.twice = weight('twice', 12, 12)
        self.kernel = weight('kernel', 2, 2, 4, 4)
        self.normed = weight('normed', 3, 3, 4, 4)
        self.alone = weight('alone', 12, 7)
        self.factors = [
            tf.constant(random.uniform(0.5, 2, 4) * signs, tf.float32) for signs in (1.0, [1, -1, 1, -1])
        ]

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.int32, name='tokens')])
    def serve(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.tanh(tf.reduce_mean(tf.gather(self.table, tokens), 1))
        scores = tf.matmul(x, self.table, transpose_b=True)
        x = tf.tanh(tf.tanh(scores) @ self.table)
        hidden = tf.tanh(x @ self.there_and_back)
        back = tf.tanh(tf.matmul(hidden, self.there_and_back, transpose_b=True))
        again = tf.tanh(tf.tanh(x @ self.twice) @ self.twice)
        image = tf.reshape(tf.concat([x, again, back, x, again, x[:, :4]], 1), (-1, 4, 4, 4))
        for _ in range(2):
            image = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, 'SAME'))
        for factor in self.factors:
            image = tf.nn.relu(tf.nn.conv2d(image, self.normed, 1, 'SAME') * factor)
        small = tf.tanh(tf.reduce_mean(tf.gather(self.tied, tokens % 20), 1))
        return {
            'scores': scores,
            'image': image,
            'tied': tf.matmul(small, self.tied, transpose_b=True),
            'alone': x @ self.alone,
        }


@pytest.fixture(scope='module')
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    module, folder = _Shared(), str(tmp_path_factory.mktemp('shared') / 'model')
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    return folder


def _batches() -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(2)
    while True:
        yield {'tokens': random.integers(0, 30, (32, 3)).astype(np.int32)}


@pytest.fixture(scope='module')
def clustered(saved_model: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The clustered values, and what was said."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger('tfx_edge')
    logger.addHandler(handler)
    options = ClusteringOptions(_CLUSTERS, preserve_sparsity=True, include=(), exclude=())
    values = cluster(open_graph(saved_model), options, make_options(20), _batches())
    logger.removeHandler(handler)
    return values, [message for message in said if 'clusters, and an int8 file' in message]


def _integers_in_file(folder: str) -> dict[int, int]:
    """The most distinct integers of a constant, by the number of its elements."""
    model = convert_saved_model(folder, 'serving_default')
    tokens = np.random.default_rng(1).integers(0, 20, (8, 3)).astype(np.int32)
    values = ActivationReader(model)({'tokens': tokens})
    ranges = {name: (min(0.0, float(v.min())), float(v.max())) for name, v in values.items()}
    summary = inspect_model(quantize_model(model, QuantizationOptions('INT8', engine=LITERT), ranges))
    found: dict[int, int] = {}
    for tensor in summary.tensors:
        if tensor.constant and tensor.dtype == 'int8' and tensor.elements > 1:
            found[tensor.elements] = max(found.get(tensor.elements, 0), tensor.distinct)
    return found


def test_distinct_integers_are_those_of_the_file(
    saved_model: str, clustered: tuple[dict[str, np.ndarray], list[str]], tmp_path: pathlib.Path
) -> None:
    values, _ = clustered
    write_with_values(saved_model, str(tmp_path / 'clustered'), values)
    said = summarize_weights(open_graph(saved_model), values)
    sizes: dict[int, int] = {}
    for weight in said:
        sizes[weight.elements] = max(sizes.get(weight.elements, 0), weight.distinct)
    found = _integers_in_file(str(tmp_path / 'clustered'))
    assert {size: found[size] for size in sizes} == sizes
    by_name = {weight.name: weight.distinct for weight in said}
    assert all(count <= _CLUSTERS for name, count in by_name.items() if name != 'normed')
    assert by_name['normed'] > _CLUSTERS


def test_weights_whose_kernels_a_codebook_does_not_fit_are_named_before_training(
    clustered: tuple[dict[str, np.ndarray], list[str]],
) -> None:
    """Factors of different signs behind two convolutions turn some channels of one kernel around, not of the other."""
    _, (warning,) = clustered
    assert warning.startswith('normed is to have 16 clusters')
    assert 'Conv2D use it' in warning


def test_what_comes_next_keeps_the_clusters(
    saved_model: str, clustered: tuple[dict[str, np.ndarray], list[str]], tmp_path: pathlib.Path
) -> None:
    values, _ = clustered
    write_with_values(saved_model, str(tmp_path / 'clustered'), values)
    graph = open_graph(str(tmp_path / 'clustered'))
    sites = find_weight_sites(graph)
    constraints = incoming_constraints(graph, sites)
    for site in sites:
        codebook = constraints[site.variable.key].codebook
        if site.variable.name in _ALONG_OTHER_AXES:
            assert codebook is not None
            assert codebook.granularity == 'GEOMETRIC'
            assert codebook.size <= _CLUSTERS
    pruned = prune(graph, make_pruning(0.5), make_options(5), _batches())
    tables = {s.name: s for s in summarize_weights(graph, pruned) if s.name in _ALONG_OTHER_AXES}
    for table in tables.values():
        assert table.zeros == table.elements // 2
        assert table.distinct <= _CLUSTERS + 1


def test_a_variable_has_a_site_for_each_kernel_of_the_file(saved_model: str) -> None:
    sites = {site.variable.name: site for site in find_weight_sites(open_graph(saved_model))}
    axes = {name: {kernel.channel_axes for kernel in site.kernels} for name, site in sites.items()}
    assert axes['table'] == {(), (0,), (1,)}
    assert axes['there_and_back'] == {(0,), (1,)}
    assert axes['twice'] == {(1,)}
    assert len(sites['twice'].kernels) == len(sites['kernel'].kernels) == 1
    assert len(sites['normed'].kernels) == 2
    assert sites['normed'].has_one_axis
