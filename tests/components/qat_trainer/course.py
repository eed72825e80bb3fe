"""Techniques one after the other, each on what the one before wrote, without a pipeline around them."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tfx_edge import proto
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    QATResult,
    train_quantization_aware,
)
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.qat.deployment import Deployment, plan_deployment, trained_ranges
from tfx_edge.components.core.qat.parity import Parity, measure_parity
from tfx_edge.components.qat_trainer.options import qat_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

Batches = Iterator[Mapping[str, np.ndarray]]
Technique = Callable[[ServingGraph, FineTuningOptions, Batches], dict[str, np.ndarray]]


class Course:
    """A model on its way; `features` are what it is trained on, by input name."""

    def __init__(
        self,
        saved_model: str,
        features: Mapping[str, np.ndarray],
        tmp_path: pathlib.Path,
        steps: int = 20,
        learning_rate: float = 1e-3,
    ) -> None:
        self.folder = saved_model
        self._features = features
        self._tmp_path = tmp_path
        self._fine_tuning = fine_tuning_options(
            proto.FineTuning(num_steps=steps, learning_rate=learning_rate, output_kind='LOGITS')
        )
        self.deployment: Deployment | None = None
        self.result = QATResult({}, {})
        self._graph: ServingGraph | None = None

    def open(self) -> ServingGraph:
        """The model as it is now."""
        return ServingGraph(self.folder, choose_signature(self.folder))

    def apply(self, technique: Technique) -> dict[str, np.ndarray]:
        """Writes what a technique makes of the model, and goes on with that."""
        self._graph = self.open()
        values = technique(self._graph, self._fine_tuning, self._batches())
        target = str(self._tmp_path / f'step_{len(list(self._tmp_path.iterdir()))}')
        write_with_values(self.folder, target, values)
        self.folder = target
        return values

    def train(self, qat: proto.QuantizationAwareTraining | None = None) -> dict[str, np.ndarray]:
        """Quantization-aware training."""
        options = qat_options(qat or proto.QuantizationAwareTraining())

        def technique(
            graph: ServingGraph, fine_tuning: FineTuningOptions, batches: Batches
        ) -> dict[str, np.ndarray]:
            first = next(batches)
            self.deployment = plan_deployment(graph, options, first)
            stream = itertools.chain([first], batches)
            arithmetic = self.deployment.arithmetic
            self.result = train_quantization_aware(graph, options, fine_tuning, stream, arithmetic)
            return self.result.values

        return self.apply(technique)

    def file(self) -> bytes:
        """The quantized file with the trained ranges."""
        return self._files()[1]

    def parity(self, samples: Mapping[str, np.ndarray], **options: bool) -> Parity:
        """The simulation against the file, on samples."""
        assert self.deployment is not None
        assert self._graph is not None
        float_model, file = self._files()
        return measure_parity(
            self._graph,
            self.deployment,
            self.result,
            float_model,
            file,
            samples,
            output_kind='LOGITS',
            **options,
        )

    def _files(self) -> tuple[bytes, bytes]:
        assert self.deployment is not None
        model = convert_saved_model(self.folder, choose_signature(self.folder).name)
        ranges = trained_ranges(self.deployment, self.result.ranges, model, [next(self._batches())])
        return model, quantize_model(model, self.deployment.options, ranges)

    def _batches(self) -> Batches:
        random = np.random.default_rng(0)
        count = len(next(iter(self._features.values())))
        while True:
            rows = random.permutation(count)[:64]
            yield {name: values[rows] for name, values in self._features.items()}
