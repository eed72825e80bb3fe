"""Convolutions with int4 kernels round their sums twice; the simulation does the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from tfx_edge.components.core.compression.bias_quantization import kernel_step
from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedKernel

# (operator, bits of the kernel) that XNNPACK has no kernel for. LiteRT's built-in kernels multiply by a fixed-point
# number and round twice, as gemmlowp does; XNNPACK multiplies in float32 and rounds once.
_TWICE = {('CONV_2D', 4)}
# Cells that are finer than 2^-8 steps do not change which step a sum is rounded to.
_FINEST = 8


@dataclasses.dataclass(frozen=True, eq=False)
class TwiceRounded:
    """An activation that is rounded twice: to fractions of a step (cells), then to steps.

    Attributes:
      tensor: of the graph; channels come last.
      group: of activations, whose range decides its step.
      source: group of the activations that the kernel is multiplied with.
      kernel: the kernel, whose scales decide the cells' sizes.
    """

    tensor: str
    group: str
    source: str
    kernel: DeployedKernel


def rounds_twice(kernel: DeployedKernel) -> bool:
    """Whether LiteRT rounds twice what it computes with a kernel."""
    return (kernel.constant.operator, kernel.constant.bits) in _TWICE


def cell_sizes(
    kernel: DeployedKernel,
    tensors: Mapping[str, tf.Tensor],
    values: Mapping[str, tf.Tensor],
    input_step: tf.Tensor,
    output_step: tf.Tensor,
) -> tf.Tensor:
    """The size of the first rounding's cells, by output channel.

    LiteRT multiplies a sum of integers by m * 2^-n, m in [0.5, 1): first by m, rounded to a whole number, then by
    2^-n, rounded again. So the first rounding is to cells of 2^-n output steps.

    Args:
      kernel: with the scales.
      tensors: of the graph, by name; those of `scale_tensors` for the kernel's site.
      values: of the graph's variables, by key; the kernel's on its grid.
      input_step: scalar, real size of a step of what the kernel is multiplied with.
      output_step: scalar, of the result.

    Returns:
      float32 (channels,), real sizes. Where the second rounding cannot matter, cells are fine enough to change nothing.
    """
    factor = input_step * kernel_step(kernel, tensors, values) / output_step
    shift = -1.0 - tf.floor(tf.math.log(tf.maximum(factor, 1e-30)) / tf.math.log(2.0))
    shift = tf.where((shift >= 0) & (shift <= _FINEST), shift, 2.0 * _FINEST)
    return output_step * tf.pow(2.0, -shift)
