"""What is trained is what ships: QAT's simulation against the quantized file, after every technique before it."""

from __future__ import annotations

import copy
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from tfx_edge import proto
from tfx_edge.components.clusterer.options import clustering_options
from tfx_edge.components.core.compression.clustering import cluster
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.quantization_aware_training import (
    QATResult,
    train_quantization_aware,
)
from tfx_edge.components.core.compression.training.training_data import training_batches
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import QuantizationOptions, quantize_model
from tfx_edge.components.core.qat.deployment import Deployment, plan_deployment, trained_ranges
from tfx_edge.components.core.qat.parity import measure_parity
from tfx_edge.components.pruner.options import pruning_options
from tfx_edge.components.qat_trainer.options import qat_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

pytestmark = pytest.mark.slow

_STEPS = 30
_SPARSITY, _CLUSTERS = 0.75, 16


class _Course:
    """Applies techniques one after the other, each to what the one before wrote."""

    def __init__(self, folder: str, files: list[str], tmp_path: pathlib.Path) -> None:
        self.folder = folder
        self._converted = ('', b'')
        self._files = files
        self._tmp_path = tmp_path
        self._options = fine_tuning_options(proto.FineTuning(num_steps=_STEPS))
        self.deployment: Deployment | None = None
        self.result = QATResult({}, {})
        self.ranges: dict[str, tuple[float, float]] = {}

    def followed_by(self, technique: str) -> _Course:
        """The course with one technique more; this one stays as it is."""
        longer = copy.copy(self)
        longer._apply(technique)
        return longer

    def _apply(self, technique: str) -> None:
        graph = ServingGraph(self.folder, choose_signature(self.folder))
        batches = training_batches(self._files, ExampleParser(graph.signature.inputs), 64, 0)
        target = str(self._tmp_path / f'{technique}_{len(list(self._tmp_path.iterdir()))}')
        write_with_values(self.folder, target, self._values(technique, graph, batches))
        self.folder = target
        if technique == 'qat':
            seen = [next(batches)]
            assert self.deployment is not None
            self.ranges = trained_ranges(self.deployment, self.result.ranges, self.float_model(), seen)

    def _values(
        self, technique: str, graph: ServingGraph, batches: Iterator[Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        if technique == 'prune':
            options = pruning_options(proto.Pruning(target_sparsity=_SPARSITY))
            return prune(graph, options, self._options, batches)
        if technique == 'cluster':
            clusters = clustering_options(proto.Clustering(number_of_clusters=_CLUSTERS))
            return cluster(graph, clusters, self._options, batches)
        first = next(batches)
        options = qat_options(proto.QuantizationAwareTraining())
        self.deployment = plan_deployment(graph, options, first)
        stream = itertools.chain([first], batches)
        self.result = train_quantization_aware(
            graph, options, self._options, stream, self.deployment.arithmetic
        )
        return self.result.values

    def float_model(self) -> bytes:
        """The float file; converted once."""
        if self._converted[0] != self.folder:
            model = convert_saved_model(self.folder, choose_signature(self.folder).name)
            self._converted = self.folder, model
        return self._converted[1]

    def file(self) -> bytes:
        """The int8 file with the trained ranges; without them, with integer weights alone."""
        mode = 'INT8' if self.ranges else 'DYNAMIC_INT8'
        return quantize_model(self.float_model(), QuantizationOptions(mode), self.ranges)


@pytest.fixture(scope='module')
def course_of(
    digits_saved_model: pathlib.Path, digits_examples: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...]], _Course]:
    """The course of an order of techniques; what orders begin with alike is trained once."""
    files = sorted(str(path) for path in (digits_examples / 'Split-train').iterdir())
    start = _Course(str(digits_saved_model), files, tmp_path_factory.mktemp('orders'))

    @functools.cache
    def made(order: tuple[str, ...]) -> _Course:
        return made(order[:-1]).followed_by(order[-1]) if order else start

    return made


def test_simulation_and_file_agree(
    course_of: Callable[[tuple[str, ...]], _Course], digits: dict[str, np.ndarray]
) -> None:
    course = course_of(('qat',))
    assert course.deployment is not None
    assert not course.deployment.not_simulated
    graph = ServingGraph(course.folder, choose_signature(course.folder))
    file, samples = course.file(), {'image': digits['x_eval']}
    report = measure_parity(graph, course.deployment, course.result, course.float_model(), file, samples)
    assert report.within_2 >= 0.999
    assert report.agreement is not None
    assert report.agreement >= 0.995
    (shipped,) = LiteRTModel(file)(samples).values()
    assert np.mean(np.argmax(shipped, 1) == digits['y_eval']) > 0.9


@pytest.mark.parametrize(
    'order',
    [order for count in (3, 2) for order in itertools.permutations(['prune', 'cluster', 'qat'], count)],
)
def test_zeros_and_clusters_are_in_the_file_whatever_the_order(
    course_of: Callable[[tuple[str, ...]], _Course], order: tuple[str, ...]
) -> None:
    for kernel in (tensor for tensor in inspect_model(course_of(order).file()).tensors if tensor.kernel):
        assert kernel.dtype == 'int8'
        if 'prune' in order:
            assert kernel.zeros >= round(_SPARSITY * kernel.elements)
        if 'cluster' in order:
            assert kernel.distinct <= _CLUSTERS
