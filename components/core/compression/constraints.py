"""What a weight has to satisfy, and the projection that makes it so.

A constraint is a mask, a codebook or an integer grid, or several of them; it can be read off a
weight that satisfies it, so that one component tells the next what to preserve.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression import codebook as codebooks
from tfx_edge.components.core.compression import integer_grid, sparsity


@dataclasses.dataclass(frozen=True)
class Constraint:
    """What one weight has to satisfy, in the domain that ships (folded kernel, scale for each channel).

    Attributes:
      keep: boolean, of the weight's shape: False has to be zero. None: no weight has to.
      codebook: sorted integers from -127 to 127, the only ones allowed. None: any number.
      grid: True: integers from -127 to 127 only, as an int8 kernel holds them.
    """

    keep: np.ndarray | None = None
    codebook: np.ndarray | None = None
    grid: bool = False

    @property
    def quantizes(self) -> bool:
        """Whether the projection rounds, which has no useful gradient of its own."""
        return self.codebook is not None or self.grid


def read_constraint(
    kernel: np.ndarray, channel_axes: tuple[int, ...], *, zeros: bool = True, clusters: bool = True
) -> Constraint:
    """Reads off a folded kernel the constraint it satisfies.

    Args:
      kernel: the folded kernel, float32.
      channel_axes: axes that count output channels.
      zeros: whether zeros are to stay.
      clusters: whether a codebook is to stay.

    Returns:
      The constraint; an empty one for a dense kernel.

    Example:
      >>> read_constraint(np.array([[0.0], [1.0]], np.float32), (1,)).keep
      array([[False],
             [ True]])
    """
    keep = sparsity.read_mask(kernel) if zeros else None
    codebook = codebooks.read_codebook(integer_grid.to_integers(kernel, channel_axes)) if clusters else None
    return Constraint(keep, codebook)


def project(
    kernel: tf.Tensor, constraint: Constraint, keep: tf.Tensor | None, channel_axes: tuple[int, ...]
) -> tf.Tensor:
    """The nearest folded kernel that satisfies a constraint.

    Projecting twice changes nothing. Weights that are kept take the codebook's members other than 0
    when the constraint has a mask, so that the mask stays as it is.

    Args:
      kernel: the folded kernel, float32.
      constraint: what it has to satisfy.
      keep: the mask to use in place of `constraint.keep` (masks change while a model is pruned).
      channel_axes: axes that count output channels.

    Returns:
      A tensor of the kernel's shape.
    """
    if keep is not None:
        kernel = kernel * tf.cast(keep, kernel.dtype)
    if not constraint.quantizes:
        return kernel
    largest = integer_grid.channel_largest(kernel, channel_axes)
    limit = float(integer_grid.limit(8))
    scaled = kernel / tf.where(largest > 0, largest, tf.ones_like(largest)) * limit
    if constraint.codebook is None:
        return tf.round(scaled) / limit * largest
    members = constraint.codebook
    if keep is not None:
        members = members[members != 0]
    # Channels that are all zero have no scale: there `largest` makes every member zero.
    kernel = _nearest(scaled, members) / limit * largest
    return kernel if keep is None else kernel * tf.cast(keep, kernel.dtype)


def _nearest(values: tf.Tensor, members: np.ndarray) -> tf.Tensor:
    midpoints = tf.constant((members[1:] + members[:-1]) / 2, values.dtype)
    indices = tf.searchsorted(midpoints, tf.reshape(values, [-1]))
    return tf.reshape(tf.gather(tf.constant(members, values.dtype), indices), tf.shape(values))
