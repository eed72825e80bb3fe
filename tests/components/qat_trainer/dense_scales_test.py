"""One scale for each dense kernel: zeros, clusters and parity from Pruner over Clusterer and QATTrainer to the file."""

from __future__ import annotations

import logging
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge import proto
from tfx_edge.components.clusterer.options import clustering_options
from tfx_edge.components.core.compression.bias_quantization import kernel_step
from tfx_edge.components.core.compression.clustering import cluster
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import scale_tensors
from tfx_edge.components.core.dense_scales import PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import TensorSummary, inspect_model, kernel_indices
from tfx_edge.components.pruner.options import pruning_options

from .course import Course

pytestmark = pytest.mark.slow

CLUSTERS = 8


def _course(
    digits: dict[str, np.ndarray],
    folder: pathlib.Path,
    *,
    clustering: str = PER_TENSOR,
    qat: str = PER_TENSOR,
    steps: int = 40,
) -> Course:
    """Of a net with batch norm behind its dense layer, whose factors differ from unit to unit."""
    course = Course(str(files.saved_model('tf_keras')), {'image': digits['x_train']}, folder, steps=steps)
    pruning = pruning_options(proto.Pruning(target_sparsity=0.5))
    course.apply(lambda graph, tuning, batches: prune(graph, pruning, tuning, batches))
    options = clustering_options(proto.Clustering(number_of_clusters=CLUSTERS, dense_scales=clustering))
    course.apply(lambda graph, tuning, batches: cluster(graph, options, tuning, batches))
    course.train(proto.QuantizationAwareTraining(dense_scales=qat))
    return course


def _dense(file: bytes) -> list[TensorSummary]:
    return [kernel for kernel in inspect_model(file).kernels if len(kernel.shape) == 2]


def _dense_values(file: bytes) -> list[np.ndarray]:
    content = flatbuffer.read(file)
    graph = content.subgraphs[0]
    found = [flatbuffer.constant(content, graph.tensors[index]) for index in kernel_indices(content, graph)]
    return [values for values in found if values is not None and values.ndim == 2]


def test_zeros_and_clusters_are_in_the_file_and_the_simulation_is_the_file(
    digits: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    course = _course(digits, tmp_path)
    kernels = inspect_model(course.file()).kernels
    assert {kernel.scales for kernel in _dense(course.file())} == {1}
    assert all(kernel.scales > 1 for kernel in kernels if len(kernel.shape) > 2)
    for kernel in kernels:
        assert kernel.zeros >= kernel.elements // 2
        assert kernel.distinct <= CLUSTERS
    assert course.deployment is not None
    graph, scales = course.open(), {kernel.name: kernel.scale_values for kernel in kernels}
    for key, kernel in course.deployment.arithmetic.kernels.items():
        # Of which the simulated biases are multiples.
        values = {key: tf.constant(graph.stored_values()[key])}
        step = tf.function(
            lambda kernel=kernel, values=values: kernel_step(
                kernel, graph.constants(values, scale_tensors([kernel.site])), values
            ),
            autograph=False,
        )()
        np.testing.assert_allclose(step, scales[kernel.constant.name], rtol=1e-5)
    parity = course.parity({'image': digits['x_eval']}, per_activation=True)
    assert parity.agreement == 1.0
    for activation in parity.activations:
        assert activation.within_1 >= 0.999, activation


@pytest.mark.parametrize(
    ('clustering', 'qat', 'scales'),
    [(PER_CHANNEL, PER_TENSOR, 'a scale of each unit'), (PER_TENSOR, PER_CHANNEL, 'one scale')],
)
def test_clusters_for_other_scales_are_warned_of_and_stay_few_in_each_unit(
    digits: dict[str, np.ndarray],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    clustering: str,
    qat: str,
    scales: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        course = _course(digits, tmp_path, clustering=clustering, qat=qat, steps=4)
    said = re.findall(rf'came with (\d+) clusters in units of {scales}, .* hold (\d+) distinct', caplog.text)
    assert said
    assert all(int(clusters) <= CLUSTERS < int(integers) for clusters, integers in said)
    file = course.file()
    assert max(kernel.distinct for kernel in _dense(file)) > CLUSTERS
    assert all(kernel.zeros >= kernel.elements // 2 for kernel in _dense(file))
    for values in _dense_values(file):
        assert max(len(np.unique(unit)) for unit in values) <= CLUSTERS
