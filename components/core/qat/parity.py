"""The simulation against the quantized file, on samples that were not trained on."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.activation_quantization import ActivationQuantization
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import QATResult, simulate
from tfx_edge.components.core.compression.training import losses
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.interpreter import MAX_BATCH_SIZE, LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.qat.deployment import Deployment
from tfx_edge.components.core.qat.quantized_tensors import integer_tensors
from tfx_edge.components.core.signature import whole_outputs

_LOG = logging.getLogger(__name__)

FILE_NAME = 'parity.json'
_FORMAT_VERSION = 1
_BATCH_SIZE = 64
# Below, a warning is written.
_EXPECTED = 0.99
# A difference of whole steps is whole but for float32's rounding.
_ROUNDING = 0.01
# Steps in the range of a float output, which has no step of its own.
_STEPS = integer_types.steps(8)


@dataclasses.dataclass(frozen=True)
class TensorParity:
    """How two computations of a tensor differ.

    Attributes:
      name: of the output, or of the tensor in the file.
      step: real size of one step; of a float output, its range in the file / 255.
      integer: whether the file computes it in integers.
      within_1: share of values that differ by one step at most.
      within_2: by two.
      percentile_99_9: of the differences, in steps.
      largest: difference, in steps.
      agreement: share of samples of the same class; None where the output is of no classes.
    """

    name: str
    step: float
    integer: bool
    within_1: float
    within_2: float
    percentile_99_9: float
    largest: float
    agreement: float | None = None


@dataclasses.dataclass(frozen=True)
class NotSimulated:
    """An integer tensor of the file that the simulation lacks.

    Attributes:
      name: in the file.
      largest: difference from the same tensor of the float file, in steps; None where the runtime keeps no values.
    """

    name: str
    largest: float | None


@dataclasses.dataclass(frozen=True)
class Parity:
    """The report.

    Attributes:
      samples: how many were compared.
      held_out: whether none of them was trained on.
      outputs: one entry for each floating output of the signature with a row for each example.
      activations: one for each simulated activation, in order of execution; empty unless asked for.
      not_simulated: integer tensors of the file that the simulation lacks.
      float_weights: variables that stay float.
    """

    samples: int
    held_out: bool
    outputs: tuple[TensorParity, ...]
    activations: tuple[TensorParity, ...]
    not_simulated: tuple[NotSimulated, ...]
    float_weights: tuple[str, ...]

    @property
    def agreement(self) -> float | None:
        """The lowest agreement of all outputs; None where no output holds classes."""
        return min((o.agreement for o in self.outputs if o.agreement is not None), default=None)

    @property
    def within_2(self) -> float:
        """The lowest share of values within two steps of all outputs."""
        return min((output.within_2 for output in self.outputs), default=1.0)

    @property
    def largest(self) -> float:
        """Largest difference of an output, in its steps."""
        return max((output.largest for output in self.outputs), default=0.0)


def measure_parity(
    graph: ServingGraph,
    deployment: Deployment,
    result: QATResult,
    float_model: bytes | ModelFile,
    file: bytes | ModelFile,
    samples: Mapping[str, np.ndarray],
    *,
    output_kind: str = 'AUTO',
    held_out: bool = True,
    per_activation: bool = False,
) -> Parity:
    """Runs the simulation and the file on the same samples.

    Args:
      graph: the incoming signature.
      deployment: what was simulated.
      result: of the training.
      float_model: the trained model as a float file.
      file: the quantized file made of it, with float inputs and outputs.
      samples: arrays of shape (samples, ...) by input name.
      output_kind: of `FineTuningOptions`; REGRESSION has no classes.
      held_out: whether the samples were kept out of the training.
      per_activation: also compare the activations inside, in the runtime's built-in kernels (XNNPACK keeps none).

    Returns:
      The report.

    Raises:
      EdgeError: the samples do not fit the file, or it cannot run.

    Example:
      >>> measure_parity(graph, deployment, result, float_model, file, samples).within_2
      1.0
    """
    float_file, file = ModelFile.of(float_model), ModelFile.of(file)
    simulated = simulate(graph, deployment.arithmetic, result.ranges)
    steps = _output_steps(file.content)
    whole = whole_outputs(graph.signature)
    names = [n for n, spec in graph.signature.outputs.items() if spec.dtype.is_floating and n not in whole]
    expected = _simulated_values(simulated, result, samples, [graph.outputs[name] for name in names])
    found = LiteRTModel(file.data)(samples)
    sides = _sides(graph, output_kind, samples)
    outputs = []
    for name, value in zip(names, expected, strict=True):
        shipped = found[name].astype(np.float32)
        step = steps[name] or float(np.ptp(shipped)) / _STEPS or 1.0
        parity = _compare(name, value, shipped, step, integer=steps[name] is not None)
        if name in sides:
            parity = dataclasses.replace(parity, agreement=_agreement(value, shipped, sides[name]))
        outputs.append(parity)
    inner: Sequence[TensorParity] = ()
    if per_activation:
        inner = _activations(simulated, deployment, result, file, samples)
    return Parity(
        samples=len(next(iter(samples.values()))),
        held_out=held_out,
        outputs=tuple(outputs),
        activations=tuple(inner),
        not_simulated=_not_simulated(deployment.not_simulated, float_file, file, samples),
        float_weights=deployment.float_weights,
    )


def to_json(parity: Parity) -> str:
    """The report as `parity.json` holds it; the same report gives the same text."""
    content: dict[str, Any] = {'format_version': _FORMAT_VERSION, **_rounded(dataclasses.asdict(parity))}
    return json.dumps(content, indent=1, sort_keys=True) + '\n'


def log_summary(parity: Parity) -> None:
    """One line: a warning where simulation and file differ by more than they should."""
    agreement = parity.agreement
    is_low = parity.within_2 < _EXPECTED or (agreement is not None and agreement < _EXPECTED)
    _LOG.log(
        logging.WARNING if is_low else logging.INFO,
        'simulation against the file on %d samples: %s%.2f %% of values within 2 steps, largest difference %.1f '
        'steps; %d tensors not simulated',
        parity.samples,
        '' if agreement is None else f'{agreement:.2%} same class, ',
        100 * parity.within_2,
        parity.largest,
        len(parity.not_simulated),
    )


def _simulated_values(
    simulated: ActivationQuantization,
    result: QATResult,
    samples: Mapping[str, np.ndarray],
    tensors: Sequence[str],
) -> list[np.ndarray]:
    values = {key: tf.constant(value) for key, value in result.values.items()}

    @tf.function(autograph=False)
    def run(batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        return [tf.cast(tensor, tf.float32) for tensor in simulated.call(batch, values, tensors)]

    count = len(next(iter(samples.values())))
    size = min(count, _BATCH_SIZE)
    parts = []
    for start in range(0, count, size):
        # The last row again fills up the last batch: a batch of another size would be traced anew.
        rows = np.minimum(np.arange(start, start + size), count - 1)
        found = [
            tensor.numpy() for tensor in run({name: tf.constant(v[rows]) for name, v in samples.items()})
        ]
        given = min(size, count - start)
        parts.append([value[: len(value) * given // size] for value in found])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _batches(samples: Mapping[str, np.ndarray], size: int) -> list[dict[str, np.ndarray]]:
    count = len(next(iter(samples.values())))
    return [
        {name: rows[start : start + size] for name, rows in samples.items()}
        for start in range(0, count, size)
    ]


def _compare(
    name: str, expected: np.ndarray, found: np.ndarray, step: float, *, integer: bool
) -> TensorParity:
    distance = np.abs(expected.ravel() - found.ravel()) / step
    return TensorParity(
        name=name,
        step=step,
        integer=integer,
        within_1=float(np.mean(distance <= 1 + _ROUNDING)),
        within_2=float(np.mean(distance <= 2 + _ROUNDING)),
        percentile_99_9=float(np.percentile(distance, 99.9)),
        largest=float(distance.max()),
    )


def _sides(
    graph: ServingGraph, output_kind: str, samples: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Outputs that may hold classes: the bound between two classes, or None for rows with a value for each class."""
    if output_kind == 'REGRESSION':
        return {}
    first = _batches(samples, _BATCH_SIZE)[0]
    sides: dict[str, float | None] = {}
    for target in losses.output_targets(graph, output_kind, first):
        if target.comparison == losses.SIGMOID:
            sides[target.name] = 0.0 if output_kind == 'LOGITS' else 0.5
        else:
            sides[target.name] = None
    return sides


def _agreement(expected: np.ndarray, found: np.ndarray, side: float | None) -> float | None:
    if side is not None:
        return float(np.mean((expected > side) == (found > side)))
    if expected.ndim != 2 or expected.shape[1] < 3:
        return None
    return float(np.mean(expected.argmax(1) == found.argmax(1)))


def _output_steps(content: flatbuffer.schema.ModelT) -> dict[str, float | None]:
    """The scale of each output before it is made float, by the signature's name; None for one computed in float."""
    graph = content.subgraphs[0]
    source = {
        int(operator.outputs[0]): graph.tensors[operator.inputs[0]]
        for operator in graph.operators
        if flatbuffer.operator_name(content, operator) == 'DEQUANTIZE'
    }
    steps: dict[str, float | None] = {}
    for entry in content.signatureDefs[0].outputs:
        tensor = source.get(int(entry.tensorIndex))
        steps[entry.name.decode()] = None if tensor is None else float(tensor.quantization.scale[0])
    return steps


def _activations(
    simulated: ActivationQuantization,
    deployment: Deployment,
    result: QATResult,
    file: ModelFile,
    samples: Mapping[str, np.ndarray],
) -> list[TensorParity]:
    few = _batches(samples, MAX_BATCH_SIZE)[0]
    activations = deployment.arithmetic.activations
    expected = _simulated_values(simulated, result, few, [a.tensor for a in activations])
    shipped = integer_tensors(file, few, [activation.name for activation in activations])
    found = []
    for activation, value in zip(activations, expected, strict=True):
        if activation.name in shipped:
            values, step = shipped[activation.name]
            if values.size == value.size:
                found.append(_compare(activation.name, value, values, step, integer=True))
    return found


def _not_simulated(
    names: Sequence[str], float_file: ModelFile, file: ModelFile, samples: Mapping[str, np.ndarray]
) -> tuple[NotSimulated, ...]:
    """How far the file's integers are from what the float file computes."""
    if not names:
        return ()
    few = _batches(samples, MAX_BATCH_SIZE)[0]
    shipped = integer_tensors(file, few, names)
    exact = ActivationReader(float_file)(few)
    found = []
    for name in names:
        largest = None
        if name in shipped and name in exact:
            values, step = shipped[name]
            largest = float(np.abs(values.ravel() - exact[name].ravel()).max()) / step
        found.append(NotSimulated(name, largest))
    return tuple(found)


def _rounded(content: Any) -> Any:
    """Six digits, so that the last bits of float32 do not show."""
    if isinstance(content, float):
        return float(f'{content:.6g}')
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(value) for value in content]
    return content
