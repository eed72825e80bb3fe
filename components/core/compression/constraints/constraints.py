"""What a weight has to satisfy, and the projection that makes it so.

A constraint is a mask, a codebook or an integer grid, or several of them; it can be read off a
weight that satisfies it, so that the next component reads off what to preserve.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints import codebook as codebooks
from tfx_edge.components.core.compression.constraints import sparsity
from tfx_edge.components.core.compression.constraints.grid_rounding import round_to_grid, round_to_members
from tfx_edge.components.core.compression.constraints.nearest_member import nearest_member
from tfx_edge.components.core.compression.constraints.straight_through import straight_through


@dataclasses.dataclass(frozen=True)
class Constraint:
    """What one weight has to satisfy.

    Attributes:
      keep: boolean, of the weight's shape; where it is False, the weight has to be zero. None: no weight has to be.
      codebook: the only values allowed, of the weight or, for a deployed codebook, of the integers it
        ships as. None: any number.
      grid: bits of the integers that the folded kernel ships as, with one scale for each output channel: 8 for
        -127 to 127, 4 for -7 to 7. 0: it ships as floats.
    """

    keep: np.ndarray | None = None
    codebook: codebooks.Codebook | None = None
    grid: int = 0

    @property
    def quantizes(self) -> bool:
        """Whether the projection rounds, which has no useful gradient of its own."""
        return self.codebook is not None or self.grid > 0


def read_constraint(
    kernel: np.ndarray,
    channel_axes: tuple[int, ...],
    *,
    weight: np.ndarray | None = None,
    zeros: bool = True,
    clusters: bool = True,
    scale_axes: tuple[int, ...] | None = None,
) -> Constraint:
    """Reads off a folded kernel the constraint it satisfies.

    Args:
      kernel: the folded kernel, float32.
      channel_axes: axes that count output channels.
      weight: the weight before folding, float32; None where nothing is folded.
      zeros: whether zeros are to stay.
      clusters: whether a codebook is to stay.
      scale_axes: axes that the kernel ships with scales along; None for `channel_axes`.

    Returns:
      The constraint; an empty one for a dense kernel.

    Example:
      >>> read_constraint(np.array([[0.0], [1.0]], np.float32), (1,)).keep
      array([[False],
             [ True]])
    """
    weight = kernel if weight is None else weight
    keep = sparsity.read_mask(kernel) if zeros else None
    codebook = codebooks.read_codebook(kernel, weight, channel_axes, scale_axes) if clusters else None
    return Constraint(keep, codebook)


def project(
    weight: tf.Tensor,
    constraint: Constraint,
    keep: tf.Tensor | None,
    channel_axes: tuple[int, ...],
    *,
    scale_axes: tuple[int, ...] | None = None,
    members: tf.Tensor | None = None,
    scale: tf.Tensor | None = None,
) -> tf.Tensor:
    """The nearest weight that satisfies a constraint.

    Projecting twice changes nothing. Weights that are kept take the codebook's members other than 0 when
    the constraint has a mask, so that the mask stays as it is. A codebook of floats together with the grid
    is rounded after the members are chosen: a channel has one scale, so that its K members become at most
    K integers. Different channels round the members of a tensor's codebook differently; that tensor
    keeps K values in each channel only.

    Gradients pass through to the weight unchanged, and to each member from the weights that took it.

    Args:
      weight: float32, of a static shape.
      constraint: what it has to satisfy.
      keep: the mask to use in place of `constraint.keep` (masks change while a model is pruned).
      channel_axes: axes that count output channels.
      scale_axes: axes that the kernel ships with scales along; None for `channel_axes`.
      members: float32, of shape (groups, K), of `TrainedCodebook`; None for the codebook's own.
      scale: the factor that is folded into the weight; None where nothing is.

    Returns:
      A tensor of the weight's shape.
    """
    if keep is not None:
        weight = weight * tf.cast(keep, weight.dtype)
    if not constraint.quantizes:
        return weight
    codebook = constraint.codebook
    projected = tf.stop_gradient(weight)
    if codebook is not None and members is None:
        members = tf.constant(codebooks.used_members(codebook, masked=keep is not None), weight.dtype)
    if codebook is not None and codebook.granularity != 'DEPLOYED':
        axes = channel_axes if codebook.granularity == 'CHANNEL' else ()
        projected = _masked(nearest_member(projected, members, axes), keep)
        members = None
    is_geometric = codebook is not None and codebook.granularity == codebooks.GEOMETRIC
    # The grid of one of its kernels does not fit the other; the members of a geometric codebook fit both.
    if (constraint.grid and not is_geometric) or members is not None:
        bits = constraint.grid or 8
        axes = channel_axes if scale_axes is None else scale_axes
        projected = _masked(_on_grid(projected, members, axes, scale, bits), keep)
    return straight_through(weight, projected)


def _on_grid(
    weight: tf.Tensor,
    members: tf.Tensor | None,
    axes: tuple[int, ...],
    scale: tf.Tensor | None,
    bits: int,
) -> tf.Tensor:
    """Rounds the folded weight to the integers of its channel, all or those of a codebook.

    The members of a codebook are eight-bit integers; with fewer bits, each is scaled and rounded to the nearest.

    Folding multiplies all weights of a channel by one number, of which only the sign changes the integers:
    nothing is multiplied and divided again, so that a rounded weight rounds to itself exactly. Only where factors of
    channels are folded into a kernel with one scale, it is the folded weight that is rounded, and divided again.
    """
    if scale is not None and not axes and scale.shape.num_elements() > 1:
        factor = tf.stop_gradient(scale)
        folded = _on_grid(weight * factor, members, axes, None, bits)
        return tf.where(factor != 0, folded / tf.where(factor != 0, factor, 1.0), weight)
    sign = None if scale is None else tf.sign(tf.stop_gradient(scale))
    if members is None:
        return round_to_grid(weight, axes, sign, bits)
    fewer = members * (integer_types.largest(bits) / integer_types.largest(8))
    return round_to_members(weight, straight_through(fewer, tf.round(fewer)), axes, sign, bits)


def _masked(weight: tf.Tensor, keep: tf.Tensor | None) -> tf.Tensor:
    return weight if keep is None else weight * tf.cast(keep, weight.dtype)
