"""The members of a codebook as a variable that an optimizer trains."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.constraints.codebook import (
    GEOMETRIC,
    Codebook,
    groups,
    member_layout,
)
from tfx_edge.components.core.compression.constraints.straight_through import straight_through

_LIMIT = integer_types.largest(8)


class TrainedCodebook:
    """The members of a codebook, held in the unit of the weights, so that one learning rate fits both.

    An integer q of a deployed codebook is held as q / 127 times the mean over the channels of the largest
    weight: the derivative of a weight by it is about 1. It is rounded where it is used; -127, 0 and
    127 do not move. Floats are held as they are; where zeros are kept, 0 does not move. Of a geometric codebook only
    the largest member is trained; the others keep their ratios to it.

    Args:
      codebook: where the members start.
      weight: the weight that takes them.
      masked: whether a mask keeps zeros: kept weights then take no member 0.
      channel_axes: axes of the weight that count output channels.

    Example:
      >>> TrainedCodebook(Codebook(np.array([[-127, 0, 50, 127]])), weight, True, (1,)).members().numpy()
      array([[-127., -127., 50., 127.]], dtype=float32)
    """

    def __init__(
        self, codebook: Codebook, weight: np.ndarray, masked: bool, channel_axes: tuple[int, ...]
    ) -> None:
        members = codebook.members
        self._deployed = codebook.granularity == 'DEPLOYED'
        self._masked = masked
        self._shape = members.shape
        self._layout = member_layout(members, masked=masked)
        self._pinned = members == 0 if masked or self._deployed else np.zeros(members.shape, bool)
        if self._deployed:
            self._pinned |= np.abs(members) == _LIMIT
        self._initial = members.astype(np.float32).ravel()
        self._geometric = codebook.granularity == GEOMETRIC
        self._unit = np.float32(_typical_largest(weight, channel_axes) / _LIMIT if self._deployed else 1.0)
        if self._geometric:
            self._unit = np.float32(np.abs(self._initial).max() or 1.0)
            self.variable = tf.Variable([self._unit])
        else:
            self.variable = tf.Variable(self._initial * self._unit)

    def members(self) -> tf.Tensor:
        """The members as weights take them: float32, of shape (groups, K), sorted along K."""
        if self._geometric:
            # Sorted as they came: all are multiplied by one number above 0.
            ratios = self._initial / self._unit
            flat = tf.abs(self.variable) * ratios
            return tf.reshape(tf.gather(flat, self._layout), self._shape)
        trained = self.variable / self._unit
        if self._deployed:
            trained = straight_through(trained, self._rounded(trained))
        flat = tf.where(self._pinned.ravel(), self._initial, trained)
        return tf.sort(tf.reshape(tf.gather(flat, self._layout), self._shape), axis=1)

    def _rounded(self, trained: tf.Tensor) -> tf.Tensor:
        rounded = tf.round(tf.clip_by_value(trained, -_LIMIT, _LIMIT))
        if not self._masked:
            return rounded
        # A member that became 0 would drop weights that the mask keeps.
        return tf.where(rounded == 0, tf.where(trained < 0, -1.0, 1.0), rounded)


def _typical_largest(weight: np.ndarray, channel_axes: tuple[int, ...]) -> float:
    largest = np.abs(groups(weight, channel_axes)).max(axis=1)
    return float(largest[largest > 0].mean()) if largest.any() else 1.0
