"""Quantization-aware training of a SavedModel in the arithmetic of the deployed file."""

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
    SimulatedConstant,
    calibrate,
)
from tfx_edge.components.core.compression.bias_quantization import SimulatedBias
from tfx_edge.components.core.compression.constraints import integer_grid
from tfx_edge.components.core.compression.constraints.codebook_limits import MAX_CLUSTERS
from tfx_edge.components.core.compression.constraints.constrained_model import (
    ConstrainedModel,
    folded_kernels,
    incoming_constraints,
)
from tfx_edge.components.core.compression.double_rounding import TwiceRounded
from tfx_edge.components.core.compression.following_ranges import FollowingRanges
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.qat_options import QATOptions
from tfx_edge.components.core.compression.training.fine_tuning import Tensors, fine_tune
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.weight_summary import distinct_integers
from tfx_edge.components.core.compression.weights.dense_sites import with_dense_scales
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedKernel, with_deployed_axes
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.dense_scales import PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.errors import NotFiniteError

_LOG = logging.getLogger(__name__)
CALIBRATION_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class DeployedArithmetic:
    """What the deployed file computes in integers, in terms of the graph that is trained.

    Attributes:
      kernels: weights that are integers there, by variable key.
      activations: tensors that are integers there.
      constants: constant operands that are integers there.
      biases: biases behind the kernels.
      activation_bits: of activations, 8 or 16.
      twice_rounded: activations that are rounded to a finer grid first.
    """

    kernels: Mapping[str, DeployedKernel]
    activations: tuple[SimulatedActivation, ...] = ()
    constants: tuple[SimulatedConstant, ...] = ()
    activation_bits: int = 8
    biases: tuple[SimulatedBias, ...] = ()
    twice_rounded: tuple[TwiceRounded, ...] = ()


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
    deployed: DeployedArithmetic,
) -> QATResult:
    """Trains the weights while they, the activations and constants are rounded as the deployed file rounds them.

    Weights are integers, symmetric, with their scales along the axes of the file's kernels, rounded after batch
    norm is folded in (Krishnamoorthi, 2018, arXiv:1806.08342); activations are int8, affine, or int16, symmetric.
    Zeros and codebooks that came in are kept, since they lie on the same grid; members of codebooks are trained.

    Args:
      graph: the incoming signature.
      qat: what to keep and to train.
      fine_tuning: how to train; with no steps weights are rounded and ranges calibrated only.
      batches: of `training_batches`; None when there are no steps (the result then has no ranges).
      deployed: what to simulate.

    Returns:
      The values and ranges. Every weight of `deployed.kernels` lies on the grid of its channel.

    Raises:
      EdgeError: training fails.

    Example:
      >>> result = train_quantization_aware(graph, qat, fine_tuning, batches, DeployedArithmetic(kernels))
      >>> result.values['layer/kernel'].shape
      (3, 3, 1, 16)
    """
    model = _constrained(graph, qat, deployed)
    if qat.preserve_clusters:
        _report_spread(graph, qat, deployed, model.final_values())
    if batches is None:
        return QATResult(model.final_values(), {})
    calibration = list(itertools.islice(batches, CALIBRATION_BATCHES))
    ranges = calibrate(graph, model.final_values(), deployed.activations, calibration)
    _require_finite(ranges)
    simulated = simulate(graph, deployed, ranges)
    counts = len(deployed.kernels), len(deployed.activations), len(deployed.constants)
    _LOG.info('simulating %d weights, %d activations and %d constants in integers', *counts)

    def forward(inputs: Tensors, fetch: Sequence[str]) -> list[tf.Tensor]:
        return simulated.call(inputs, model.values(), fetch)

    variables = model.trainable + (simulated.variables if qat.train_ranges else [])
    if fine_tuning.num_steps:
        stream = _finite_where_integer(itertools.chain(calibration, batches), graph, deployed)
        hooks = FollowingRanges(
            simulated, deployed.activations, model.values, calibration, fine_tuning.num_steps, model.state
        )
        fine_tune(graph, forward, variables, stream, fine_tuning, hooks)
    return QATResult(model.final_values(), simulated.ranges())


def rounded_values(
    graph: ServingGraph, qat: QATOptions, deployed: DeployedArithmetic
) -> dict[str, np.ndarray]:
    """The trainable variables as they are before training, weights of `deployed.kernels` on their grids.

    Args:
      graph: the incoming signature.
      qat: what to keep.
      deployed: what is integer.

    Returns:
      By checkpoint key.
    """
    return _constrained(graph, qat, deployed).final_values()


def _require_finite(ranges: Mapping[str, tuple[float, float]]) -> None:
    for name, limits in ranges.items():
        if not np.isfinite(limits).all():
            raise NotFiniteError(
                f'activation {name!r} is NaN or infinite on some examples, which integers cannot be; keep what makes '
                'and handles it float with QuantizationAwareTraining.overrides.'
            )


def _finite_where_integer(
    batches: Iterator[Mapping[str, np.ndarray]], graph: ServingGraph, deployed: DeployedArithmetic
) -> Iterator[Mapping[str, np.ndarray]]:
    """The batches; refuses NaN and infinity in an input that is integer in the deployed file."""
    simulated = {activation.tensor for activation in deployed.activations}
    integer = [name for name, tensor in graph.inputs.items() if tensor in simulated]
    for batch in batches:
        for name in integer:
            if not np.isfinite(batch[name]).all():
                raise NotFiniteError(
                    f'input {name!r} is NaN or infinite on an example, which the integers that it is in the deployed '
                    'file cannot be; fill in what is missing in the examples.'
                )
        yield batch


def _constrained(graph: ServingGraph, qat: QATOptions, deployed: DeployedArithmetic) -> ConstrainedModel:
    sites = with_deployed_axes(find_weight_sites(graph), deployed.kernels)
    constraints = incoming_constraints(
        graph, sites, zeros=qat.preserve_sparsity, clusters=qat.preserve_clusters
    )
    for site in sites:
        key = site.variable.key
        if key in deployed.kernels:
            bits = deployed.kernels[key].constant.bits
            constraints[key] = dataclasses.replace(constraints[key], grid=bits)
        else:
            _LOG.info('%s (%s) is trained in float', site.variable.name, site.op)
    return ConstrainedModel(graph, sites, constraints)


def _report_spread(
    graph: ServingGraph, qat: QATOptions, deployed: DeployedArithmetic, values: Mapping[str, np.ndarray]
) -> None:
    """Warns of dense kernels that came with few integers in units of other scales than the file's, which holds more."""
    for_one, others = 'one scale', 'a scale of each unit'
    if qat.dense_scales == PER_CHANNEL:
        came_for, in_file, came = for_one, others, PER_TENSOR
    else:
        came_for, in_file, came = others, for_one, PER_CHANNEL
    sites = tuple(
        site
        for site in with_dense_scales(find_weight_sites(graph), came)
        if site.fully_connected and site.variable.key in deployed.kernels
    )
    kernels = folded_kernels(graph, sites)
    found = distinct_integers(graph, with_deployed_axes(sites, deployed.kernels), values)
    for site in sites:
        key = site.variable.key
        integers = integer_grid.to_integers(kernels[key], site.scale_axes)
        clusters = 0 if integers is None else len(np.unique(integers))
        if 0 < clusters <= min(MAX_CLUSTERS, site.variable.value.size // 2) and found[key] > clusters:
            _LOG.warning(
                '%s came with %d clusters in units of %s, and the file, which has %s, will hold %d distinct integers '
                'before training. Give Clusterer and QATTrainer the same dense_scales to have %d.',
                site.variable.name,
                clusters,
                came_for,
                in_file,
                found[key],
                clusters,
            )


def simulate(
    graph: ServingGraph, deployed: DeployedArithmetic, ranges: Mapping[str, tuple[float, float]]
) -> ActivationQuantization:
    """The graph in the deployed arithmetic; weights are to be on their grids already.

    Args:
      graph: the signature.
      deployed: what is integer.
      ranges: (min, max) by group of activations.

    Returns:
      The simulation, whose `call` evaluates tensors of the graph.

    Example:
      >>> simulate(graph, deployed, result.ranges).call(inputs, result.values, [graph.outputs['output_0']])
    """
    return ActivationQuantization(
        graph,
        deployed.activations,
        ranges,
        deployed.constants,
        deployed.biases,
        deployed.twice_rounded,
        bits=deployed.activation_bits,
    )
