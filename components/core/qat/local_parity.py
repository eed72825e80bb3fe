"""Operators that the deployed file computes otherwise than the simulation, found before anything is trained."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import DeployedArithmetic, simulate
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.qat.quantized_tensors import integer_tensors

_LOG = logging.getLogger(__name__)
# By bits. With 16, where kernels look values up in tables, this is a tenth of the share of the range as with 8.
_TOLERATED_STEPS = {8: 2.0, 16: 51.0}
_ROUNDING = 0.01
# Share of the values that must lie within: where several operators compute an activation from the one before it, and
# where one does, whose kernel may round a few values otherwise.
_SHARE, _SHARE_OF_ONE = 0.999, 0.99


def broken_activations(
    graph: ServingGraph,
    arithmetic: DeployedArithmetic,
    values: Mapping[str, np.ndarray],
    ranges: Mapping[str, tuple[float, float]],
    float_model: bytes | ModelFile,
    file: bytes | ModelFile,
    inputs: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Activations that the file computes otherwise than the simulation from the same values.

    Each is simulated from the file's own values of the activations before it, so a difference is that of the operators
    in between.

    Args:
      graph: the incoming signature.
      arithmetic: what is simulated.
      values: of the variables, by key, weights on their grids.
      ranges: (min, max) by group of activations, of `file`.
      float_model: the incoming model as a float file.
      file: the same quantized with these ranges.
      inputs: by input name, at most 8 rows.

    Returns:
      Largest difference in steps by name in the file, of the activations of which less than 99.9 % lie within two
      steps (with 16 bits: 51); less than 99 % where a single operator computes them.
    """
    _LOG.info('comparing %d activations of the file with the simulation', len(arithmetic.activations))
    float_file = ModelFile.of(float_model)
    simulated = simulate(graph, arithmetic, ranges)
    shipped = integer_tensors(file, inputs, [activation.name for activation in arithmetic.activations])
    batch = {name: tf.constant(rows) for name, rows in inputs.items()}
    tensors = list(dict.fromkeys(activation.tensor for activation in arithmetic.activations))

    constants = {key: tf.constant(value) for key, value in values.items()}
    whole = tf.function(
        lambda: simulated.call(batch, constants, tensors), autograph=False
    ).get_concrete_function()()
    like = dict(zip(tensors, whole, strict=True))
    known = {
        a.tensor: tf.reshape(tf.constant(shipped[a.name][0]), like[a.tensor].shape)
        for a in arithmetic.activations
        if a.name in shipped and shipped[a.name][0].size == np.prod(like[a.tensor].shape)
    }
    local = tf.function(
        lambda: simulated.call_locally(batch, constants, known), autograph=False
    ).get_concrete_function()()
    simulated_names = {activation.name for activation in arithmetic.activations}
    tolerated = _TOLERATED_STEPS[arithmetic.activation_bits] + _ROUNDING
    broken = {}
    for activation in arithmetic.activations:
        if activation.tensor in known:
            found, step = shipped[activation.name]
            steps = np.abs(local[activation.tensor].numpy().ravel() - found.ravel()) / step
            within = float(np.mean(steps <= tolerated))
            # Counting the operators takes long, and is needed only between the two shares.
            if within < _SHARE_OF_ONE or (
                within < _SHARE and len(producers_of(float_file, activation.name, simulated_names)) > 1
            ):
                broken[activation.name] = float(steps.max())
    return broken


def producers_of(float_model: bytes | ModelFile, name: str, known: Collection[str]) -> tuple[str, ...]:
    """Expressions that match the outputs of the operators which compute an activation from others, and nothing else.

    Args:
      float_model: a float32 `.tflite` file.
      name: of the activation.
      known: names of the activations to stop at.

    Returns:
      Regular expressions, sorted.
    """
    content = ModelFile.of(float_model).content
    tensors, operators = content.subgraphs[0].tensors, content.subgraphs[0].operators
    producer = {int(output): operator for operator in operators for output in operator.outputs}
    index = {flatbuffer.tensor_name(tensor): number for number, tensor in enumerate(tensors)}
    waiting = [index[name]]
    outputs: set[str] = set()
    while waiting:
        operator = producer.get(waiting.pop())
        if operator is None:
            continue
        names = {flatbuffer.tensor_name(tensors[output]) for output in operator.outputs}
        if names <= outputs:
            continue
        outputs |= names
        waiting += [
            int(used)
            for used in operator.inputs
            if used >= 0 and flatbuffer.tensor_name(tensors[used]) not in known
        ]
    return tuple(sorted(f'^{re.escape(output)}$' for output in outputs))
