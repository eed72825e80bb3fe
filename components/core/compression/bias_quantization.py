"""Biases as the deployed file holds them: integers in steps of (input scale x kernel scale)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints import integer_grid
from tfx_edge.components.core.compression.graph.graph_scopes import Scope, scopes
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedKernel
from tfx_edge.components.core.compression.weights.folded_scale import tensor
from tfx_edge.components.core.compression.weights.weight_sites import channel_scale, scale_tensors
from tfx_edge.components.core.tensor_names import producer

SUMS = ('BiasAdd', 'Add', 'AddV2', 'Sub')
# They keep the channels, which come last.
_SAME_CHANNELS = ('Squeeze', 'Identity', 'Reshape', 'ExpandDims')
# Largest bias, in steps; for a larger one the engine widens the kernel's scale.
_MOST_STEPS = 2.0**30
# Relative to the largest bias; the file's constants are folded in another order.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedBias:
    """The additions and factors behind a kernel, up to the next tensor that the deployed file has.

    Attributes:
      kernel: the weight it is added behind.
      group: of the activations that the kernel is multiplied with, whose range decides the step.
      steps: operation and constant operand, in order; a factor, or something added or (Sub) subtracted.
      node: the last addition or subtraction, whose operand is moved to round the bias.
    """

    kernel: DeployedKernel
    group: str
    steps: tuple[tuple[str, str], ...]
    node: str

    @property
    def tensors(self) -> list[str]:
        """What the rounding is computed from: the constant operands, and what is folded into the kernel."""
        return [*(name for _, name in self.steps), *scale_tensors([self.kernel.site])]

    @property
    def operand(self) -> str:
        """The constant that the last addition adds."""
        return [name for op, name in self.steps if op != 'Mul'][-1]


def find_biases(
    graph: ServingGraph,
    steps: graph_pb2.GraphDef,
    kernels: Iterable[tuple[DeployedKernel, str]],
    ends: Collection[str],
) -> tuple[SimulatedBias, ...]:
    """Finds the biases behind kernels, and compares their values with the file's biases.

    Args:
      graph: the signature.
      steps: its graph, of `with_batch_norms_in_steps`.
      kernels: each with the group of the activations that it is multiplied with; its `constant.bias` holds the file's
        bias.
      ends: tensors that the file has too.

    Returns:
      The biases; without those that the file has not, or has another for.
    """
    scope = next(scopes(steps, graph.inputs.values()))
    chains = [_chain(scope, kernel, group, ends) for kernel, group in kernels]
    found = [bias for bias in chains if bias is not None]
    names = list(dict.fromkeys(name for bias in found for _, name in bias.steps))
    fetched = tf.function(
        lambda: graph.constants({}, names, graph_def=steps), autograph=False
    ).get_concrete_function()()
    operands = {name: value.numpy().ravel() for name, value in fetched.items()}
    return tuple(bias for bias in found if _is_deployed(bias, operands))


def _is_deployed(bias: SimulatedBias, operands: Mapping[str, np.ndarray]) -> bool:
    """Whether the file's bias has the values that the graph's operands make."""
    expected = bias.kernel.constant.bias
    assert expected is not None
    folded = _folded(bias, [operands[name] for _, name in bias.steps], np.ones_like)[0]
    if folded.size not in (1, expected.size):
        return False
    largest = max(float(np.abs(expected).max()), 1e-6)
    return bool(np.abs(folded - expected).max() <= _TOLERANCE * largest)


def rounded_operand(
    bias: SimulatedBias,
    tensors: Mapping[str, tf.Tensor],
    values: Mapping[str, tf.Tensor],
    input_step: tf.Tensor,
) -> tf.Tensor:
    """The last addition's operand, moved so that the whole bias is a whole number of steps.

    Args:
      bias: of `find_biases`.
      tensors: `bias.tensors`, by name.
      values: of the graph's variables, by key; the kernel's on its grid.
      input_step: of the activations that the kernel is multiplied with.

    Returns:
      A tensor of the operand's shape; the gradient passes to the operand unchanged.
    """
    fetched = [tensors[name] for _, name in bias.steps]
    flat = [tf.reshape(tf.stop_gradient(value), [-1]) for value in fetched]
    whole, behind = _folded(bias, flat, tf.ones_like)
    step = input_step * kernel_step(bias.kernel, tensors, values)
    usable = _usable(whole, step) & (behind != 0)
    step, behind = tf.where(usable, step, 1.0), tf.where(usable, behind, 1.0)
    moved = tf.where(usable, (tf.round(whole / step) * step - whole) / behind, 0.0)
    if next(op for op, name in reversed(bias.steps) if op != 'Mul') == 'Sub':
        moved = -moved
    operand = tensors[bias.operand]
    return operand + tf.stop_gradient(
        tf.reshape(moved, operand.shape) if operand.shape.num_elements() == moved.shape[0] else moved
    )


def rounded_bias(
    bias: SimulatedBias,
    tensors: Mapping[str, tf.Tensor],
    values: Mapping[str, tf.Tensor],
    input_step: tf.Tensor,
) -> tf.Tensor:
    """The whole bias, a whole number of steps.

    Args:
      bias: of `find_biases`.
      tensors: `bias.tensors`, by name.
      values: of the graph's variables, by key; the kernel's on its grid.
      input_step: of the activations that the kernel is multiplied with.

    Returns:
      float32 (channels,); the gradient passes to all operands as if nothing was rounded.
    """
    step = input_step * kernel_step(bias.kernel, tensors, values)
    whole, _ = _folded(bias, [tf.reshape(tensors[name], [-1]) for _, name in bias.steps], tf.ones_like)
    whole = tf.broadcast_to(whole, tf.broadcast_static_shape(whole.shape, step.shape))
    given = tf.stop_gradient(whole)
    usable = _usable(given, step)
    step = tf.where(usable, step, 1.0)
    return whole + tf.stop_gradient(tf.where(usable, tf.round(given / step) * step - given, 0.0))


def _usable(whole: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Where a channel has a scale that the file does not widen."""
    return (step > 0) & (tf.abs(whole) < step * _MOST_STEPS)


def _chain(scope: Scope, kernel: DeployedKernel, group: str, ends: Collection[str]) -> SimulatedBias | None:
    if kernel.constant.bias is None:
        return None
    node = scope.nodes[kernel.site.node]
    steps: list[tuple[str, str]] = []
    last = ''
    while f'{node.name}:0' not in ends and len(scope.consumers[node.name]) == 1:
        following = scope.nodes[scope.consumers[node.name][0]]
        if following.op in (*SUMS, 'Mul'):
            others = [name for name in following.input if producer(name) != node.name]
            if len(others) != 1 or producer(others[0]) in scope.dynamic:
                break
            if following.op == 'Sub' and producer(following.input[0]) != node.name:
                break
            steps.append((following.op, tensor(others[0])))
            last = last if following.op == 'Mul' else following.name
        elif following.op not in _SAME_CHANNELS:
            break
        node = following
    return SimulatedBias(kernel, group, tuple(steps), last) if last else None


def _folded(bias: SimulatedBias, operands: Sequence[Any], ones: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The bias as a whole, and the factor behind its last addition."""
    whole = operands[0] * 0.0
    behind = ones(operands[0])
    for (op, _), operand in zip(bias.steps, operands, strict=True):
        if op == 'Mul':
            whole, behind = whole * operand, behind * operand
        else:
            whole, behind = whole + (-operand if op == 'Sub' else operand), ones(whole)
    return whole, behind


def kernel_step(
    kernel: DeployedKernel, tensors: Mapping[str, tf.Tensor], values: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """The kernel's scales in the file, of shape (channels,) or (1,); no gradient reaches the weight through them."""
    site = kernel.site
    weight = tf.stop_gradient(values[site.variable.key])
    scale = channel_scale(site, tensors)
    folded = weight if scale is None else weight * tf.stop_gradient(scale)
    largest = integer_grid.channel_largest(folded, site.scale_axes)
    return tf.reshape(largest, [-1]) / integer_types.largest(kernel.constant.bits)
