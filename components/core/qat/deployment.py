"""What is integer in the deployed file, planned before training: what is simulated, and what stays float."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.activation_quantization import calibrate
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import (
    DeployedArithmetic,
    QATOptions,
    rounded_values,
    simulate,
)
from tfx_edge.components.core.compression.weights.deployed_kernels import (
    DeployedKernel,
    match_kernels,
)
from tfx_edge.components.core.compression.weights.precisions import FLOAT
from tfx_edge.components.core.compression.weights.weight_precision import weight_precisions
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites
from tfx_edge.components.core.dense_scales import PER_CHANNEL
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.modes import INT8, static_mode
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantized_file
from tfx_edge.components.core.litert.quantization.quantized_activations import (
    ActivationTensor,
    quantized_activations,
)
from tfx_edge.components.core.qat.deployed_constants import quantized_constants
from tfx_edge.components.core.qat.local_parity import broken_activations, producers_of
from tfx_edge.components.core.qat.non_finite_operators import non_finite_operators
from tfx_edge.components.core.qat.simulated_tensors import (
    ROWS,
    IntegerTensors,
    outputs_of_weights,
    simulated_arithmetic,
)

_LOG = logging.getLogger(__name__)
# Each round keeps the operators float that compute one more activation.
_MOST_ROUNDS = 16


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What is integer in the deployed file, and how much of that the training simulates.

    Attributes:
      arithmetic: what is simulated.
      activations: all activations that are integers in the file.
      kept_float: regular expressions that match the outputs of operators which are to stay float.
      float_weights: names of the variables that stay float.
      weight_bits: bits by name of the file's kernel.
      not_simulated: names of the file's integer tensors that have no counterpart in the graph.
      fault: why there is no integer file of the model; '' where there is one.
      mode: of the file.
      dense_scales: of the file's kernels of fully connected layers.
    """

    arithmetic: DeployedArithmetic
    activations: tuple[ActivationTensor, ...] = ()
    kept_float: tuple[str, ...] = ()
    float_weights: tuple[str, ...] = ()
    weight_bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_simulated: tuple[str, ...] = ()
    fault: str = ''
    mode: str = INT8
    dense_scales: str = PER_CHANNEL

    @property
    def options(self) -> QuantizationOptions:
        """How the deployed file is quantized."""
        # The engine whose scales of kernels are simulated.
        return QuantizationOptions(
            self.mode, keep_float=self.kept_float, engine=LITERT, dense_scales=self.dense_scales
        )


def _all_integer(model: ModelFile, mode: str) -> tuple[str, ...]:
    del model, mode
    return ()


def plan_deployment(
    graph: ServingGraph,
    qat: QATOptions,
    batch: Mapping[str, np.ndarray] | None,
    float_file: bytes | None = None,
    sound: Callable[[ModelFile, str], tuple[str, ...]] = _all_integer,
) -> Deployment:
    """Quantizes the incoming model, and finds in its graph what the file computes in integers.

    Which tensors these are, along which axes kernels have their scales and which operands are constants is read off
    the file; each is recognized in the graph by its values.

    Args:
      graph: the incoming signature.
      qat: which weights are to be integers, and of how many bits.
      batch: real inputs by name, by whose values activations are distinguished; None to simulate weights only.
      float_file: the signature's float `.tflite` file; None to convert it here.
      sound: which operators of the float file stay float in any case in a mode, as regular expressions.

    Returns:
      What to simulate. Operators that the file computes otherwise than the simulation, on the same inputs, are named
      in the log and stay float. Integer tensors without a counterpart in the graph are named too. Where there is no
      integer file (of a recurrent net, say), nothing is simulated, and the log says why.

    Raises:
      EdgeError: no weight is to be quantized, or a pattern matches none; or there is not even a float file.

    Example:
      >>> plan_deployment(graph, options, next(batches)).not_simulated
      ()
    """
    sites = find_weight_sites(graph)
    precisions = weight_precisions(sites, qat)
    model = ModelFile.of(float_file or convert_saved_model(graph.folder, graph.signature))
    plan = _Plan(graph, qat, sites, precisions, model, batch, _mode(qat))
    try:
        always = sound(model, plan.mode)
        tensors = plan.integer_tensors(always)
    except EdgeError as error:
        _LOG.warning(
            'nothing is simulated, and all weights stay float, for there is no integer file: %s', error
        )
        return Deployment(
            DeployedArithmetic({}),
            float_weights=tuple(site.variable.name for site in sites),
            fault=str(error),
        )
    deployment = plan.without_broken_activations(tensors, always)
    for name in deployment.not_simulated:
        _LOG.warning('not simulated: %r is integer in the file and has no counterpart in the graph', name)
    return deployment


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What the deployments that are tried have in common."""

    graph: ServingGraph
    qat: QATOptions
    sites: Sequence[WeightSite]
    precisions: Mapping[str, int]
    model: ModelFile
    batch: Mapping[str, np.ndarray] | None
    mode: str

    def integer_tensors(self, kept_float: tuple[str, ...]) -> IntegerTensors:
        """What is integer in the file when some operators are kept float."""
        activations = quantized_activations(self.model, keep_float=kept_float, mode=self.mode)
        options = QuantizationOptions(
            self.mode, keep_float=kept_float, engine=LITERT, dense_scales=self.qat.dense_scales
        )
        return IntegerTensors(activations, quantized_constants(self.model, activations, options))

    def without_broken_activations(self, tensors: IntegerTensors, always: tuple[str, ...]) -> Deployment:
        """Keeps float what is to be, and one after the other what the file computes otherwise than is simulated."""
        unwanted = [site for site in self.sites if not self.precisions[site.variable.key]]
        kernels = match_kernels(self.graph, self.sites, tensors.constants)
        of_weights = outputs_of_weights(self.graph, unwanted, kernels, tensors.constants)
        non_finite = non_finite_operators(self.model, self.batch, self.graph.inputs)
        kept_float = tuple(sorted({*always, *of_weights, *non_finite}))
        for _ in range(_MOST_ROUNDS):
            if kept_float:
                tensors = self.integer_tensors(kept_float)
            deployment = self.deployment(tensors, kept_float)
            behind = _first_to_keep(self.model, deployment, self.broken(deployment))
            if not behind:
                break
            kept_float = tuple(sorted({*kept_float, *behind}))
        return deployment

    def deployment(self, tensors: IntegerTensors, kept_float: tuple[str, ...]) -> Deployment:
        """What is integer when some operators are kept float."""
        kernels = match_kernels(self.graph, self.sites, tensors.constants)
        kernels = {key: kernel for key, kernel in kernels.items() if self.precisions[key]}
        for key, kernel in kernels.items():
            _require_bits(kernel, self.precisions[key])
        arithmetic, unknown = simulated_arithmetic(
            self.graph, self.model, kernels, tensors, self.qat.activation_bits, self.batch
        )
        return Deployment(
            arithmetic=arithmetic,
            activations=tensors.activations,
            kept_float=kept_float,
            float_weights=tuple(s.variable.name for s in self.sites if s.variable.key not in kernels),
            weight_bits={kernel.constant.name: kernel.constant.bits for kernel in kernels.values()},
            not_simulated=unknown,
            mode=self.mode,
            dense_scales=self.qat.dense_scales,
        )

    def broken(self, deployment: Deployment) -> dict[str, float]:
        """Activations of the incoming model that its file computes otherwise, over the ranges of the batch."""
        if self.batch is None:
            return {}
        arithmetic = deployment.arithmetic
        values = rounded_values(self.graph, self.qat, arithmetic)
        ranges = calibrate(self.graph, values, arithmetic.activations, [self.batch])
        simulated = simulate(self.graph, arithmetic, ranges).ranges()
        inputs = {name: self.batch[name] for name in self.graph.inputs}
        trained = trained_ranges(deployment, simulated, self.model, [inputs])
        file = quantized_file(self.model, deployment.options, trained)
        few = {name: rows[:ROWS] for name, rows in inputs.items()}
        return broken_activations(self.graph, arithmetic, values, ranges, self.model, file, few)


def _first_to_keep(model: ModelFile, deployment: Deployment, broken: Mapping[str, float]) -> tuple[str, ...]:
    """The operators that compute the first broken activation, unless all are float: later ones may then be right."""
    known = {activation.name for activation in deployment.arithmetic.activations}
    for name, steps in broken.items():
        behind = producers_of(model, name, known)
        if not behind:
            continue  # an input
        if {*behind} <= {*deployment.kept_float}:
            _LOG.info(
                'the file computes %r up to %.0f steps away from the simulation, though what computes it is float: '
                'it reads there what is rounded elsewhere',
                name,
                steps,
            )
            continue
        _LOG.warning(
            'the file computes %r up to %.0f steps away from the simulation; to ship what is trained, these operators '
            'stay float: %s',
            name,
            steps,
            ', '.join(pattern[1:-1].replace('\\', '') for pattern in behind),
        )
        return behind
    return ()


def trained_ranges(
    deployment: Deployment,
    trained: Mapping[str, tuple[float, float]],
    float_model: bytes | ModelFile,
    batches: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, tuple[float, float]]:
    """The range of each activation by its name in the deployed file.

    Args:
      deployment: of `plan_deployment`.
      trained: ranges by group.
      float_model: the trained model, on which activations that were not simulated are observed.
      batches: inputs to observe them on.

    Returns:
      (min, max) by tensor name, for every activation whose range is not fixed by its arithmetic and that has values
      to read.
    """
    free = [a for a in deployment.activations if a.fixed is None]
    ranges = {a.name: trained[a.group] for a in free if a.group in trained}
    alone = [a for a in free if a.group not in trained]
    if not alone:
        return ranges
    reader = ActivationReader(float_model)
    for batch in batches:
        for start in range(0, len(next(iter(batch.values()))), ROWS):
            values = reader({name: rows[start : start + ROWS] for name, rows in batch.items()})
            for activation in alone:
                if activation.name not in values:
                    continue  # the runtime keeps no values of it
                value = values[activation.name]
                low, high = ranges.get(activation.name, (np.inf, -np.inf))
                ranges[activation.name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges


def _mode(qat: QATOptions) -> str:
    quantized = [bits for _, bits in qat.overrides if bits != FLOAT]
    return static_mode([qat.weight_bits, *quantized], qat.activation_bits)


def _require_bits(kernel: DeployedKernel, wanted: int) -> None:
    """Refuses a kernel with fewer bits than wanted; where LiteRT has no int4 kernel, four bits become eight."""
    name, found = kernel.site.variable.name, kernel.constant.bits
    if found < wanted:
        raise EdgeError(
            f'{name!r} is to have {wanted} bits, but a file with int4 weights gives every {kernel.constant.operator} '
            f'{found}; set weight_bits to {wanted} for all, or leave it float (overrides, exclude).'
        )
    if found > wanted:
        _LOG.info('%s: %d bits, for LiteRT has no int4 %s', name, found, kernel.constant.operator)
