"""Quantization-aware training of a SavedModel in the arithmetic that ships."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
    calibrate,
)
from tfx_edge.components.core.compression.constraints.constrained_model import (
    ConstrainedModel,
    incoming_constraints,
)
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions, Tensors, fine_tune
from tfx_edge.components.core.compression.weights.weight_selection import select_weight_sites
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

_LOG = logging.getLogger(__name__)
CALIBRATION_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class QATOptions:
    """What to simulate; the fields of `proto.QuantizationAwareTraining`, with its defaults filled in."""

    train_ranges: bool
    preserve_sparsity: bool
    preserve_clusters: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class QATResult:
    """New values of the trainable variables by checkpoint key, and (min, max) by group of activations."""

    values: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]


def train_quantization_aware(
    graph: ServingGraph,
    qat: QATOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
    activations: Sequence[SimulatedActivation],
) -> QATResult:
    """Trains the weights while they and the activations are rounded as the deployed file rounds them.

    Weights are int8, symmetric, one scale for each output channel, rounded after batch norm is folded
    in (Krishnamoorthi, 2018, arXiv:1806.08342); activations are int8, affine. Zeros and codebooks that
    came in are kept, since they lie on the same grid.

    Args:
      graph: the incoming signature.
      qat: what to simulate.
      fine_tuning: how to train; with no steps weights are rounded and ranges calibrated only.
      batches: of `training_batches`; None when there are no steps (no ranges result then).
      activations: those that the deployed file quantizes.

    Returns:
      The values and ranges. Every selected weight lies on the grid of its channel.

    Raises:
      EdgeError: there is no weight to quantize, or training fails.
    """
    sites = find_weight_sites(graph)
    selected = select_weight_sites(sites, qat.include, qat.exclude, 'quantize')
    constraints = incoming_constraints(
        graph, sites, zeros=qat.preserve_sparsity, clusters=qat.preserve_clusters
    )
    for site in selected:
        key = site.variable.key
        if site.simulated:
            constraints[key] = dataclasses.replace(constraints[key], grid=True)
        else:
            _LOG.info('%s (%s) is trained in float', site.variable.name, site.op)
    model = ConstrainedModel(graph, sites, constraints)
    if batches is None:
        return QATResult(model.final_values(), {})
    calibration = list(itertools.islice(batches, CALIBRATION_BATCHES))
    ranges = calibrate(graph, model.final_values(), activations, calibration)
    simulated = ActivationQuantization(graph, activations, ranges)
    _LOG.info('simulating %d weights and %d activations in int8', len(selected), len(activations))

    def forward(inputs: Tensors, fetch: Sequence[str]) -> list[tf.Tensor]:
        return simulated.call(inputs, model.values(), fetch)

    variables = list(model.variables.values()) + (simulated.variables if qat.train_ranges else [])
    if fine_tuning.num_steps:
        stream = itertools.chain(calibration, batches)
        fine_tune(graph, forward, variables, stream, fine_tuning, state=model.state)
    return QATResult(model.final_values(), simulated.ranges())
