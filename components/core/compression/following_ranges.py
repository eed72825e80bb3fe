"""Ranges of activations that follow the weights: widened where training moved the values out of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
    observed_activations,
)
from tfx_edge.components.core.compression.training.training_hooks import TrainingHooks
from tfx_edge.components.core.range_clipping import CELLS, POSITIONS, RANGES_BESIDE, clipping

_LOG = logging.getLogger(__name__)
# A quarter of what EdgeEvaluation.max_clipping allows on other examples than these.
_MOST_CLIPPING = 0.01
# Shares of the training after which the ranges are looked at.
_MOMENTS = (0.25, 0.5, 0.75, 1.0)
# A range that was widened passes on values that those behind it have not seen.
_MOST_ROUNDS = 4


class FollowingRanges(TrainingHooks):
    """Widens ranges that cut off much of what makes their values differ.

    Ranges are trained as logarithms, at the rate of the weights: within a short training they cannot keep up with
    weights that change an activation's size, and an end at 0 cannot move at all. After each quarter of the steps, and
    so at the end too, the calibration batches go through the simulation. A range that cuts off more than 1 % of the
    variation of its values (`range_clipping.clipping`, which EdgeEvaluator judges a file by) is widened to all of them,
    with a line in the log. A range that training narrowed by less stays as trained.

    Args:
      simulated: the simulation.
      activations: that it quantizes.
      values: gives the variables' values by key.
      batches: inputs by name; the ranges were calibrated on them.
      num_steps: of the training.
      state: variables besides that a restart continues with.

    Example:
      ```
      hooks = FollowingRanges(simulated, deployed.activations, model.values, calibration, 1000, model.state)
      fine_tune(graph, forward, variables, batches, options, hooks)
      ```
    """

    def __init__(
        self,
        simulated: ActivationQuantization,
        activations: Sequence[SimulatedActivation],
        values: Callable[[], Mapping[str, tf.Tensor]],
        batches: Sequence[Mapping[str, np.ndarray]],
        num_steps: int,
        state: Sequence[tf.Variable] = (),
    ) -> None:
        super().__init__([*state, *simulated.state])
        self._simulated = simulated
        self._observed = [a for a in observed_activations(activations) if a.fixed is None]
        self._batches = batches
        self._num_steps = num_steps
        self._moments = {round(share * num_steps) for share in _MOMENTS} - {0}

        @tf.function(autograph=False, reduce_retracing=True)
        def measure(
            inputs: Mapping[str, tf.Tensor], lows: tf.Tensor, highs: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            tensors = [activation.tensor for activation in self._observed]
            found = simulated.before_rounding(inputs, values(), tensors)
            # What the model handles itself, NaN for a value that is missing, has no place in a range.
            found = [tf.where(tf.math.is_finite(value), value, lows[n]) for n, value in enumerate(found)]
            # A cell around each integer: what is rounded to the last one is not cut off.
            steps = (highs - lows) / (CELLS - 1)
            first = lows - (RANGES_BESIDE * CELLS + 0.5) * steps
            ends = tf.stack([first, first + POSITIONS * steps], 1)
            counts = [tf.histogram_fixed_width(value, ends[n], POSITIONS) for n, value in enumerate(found)]
            extremes = [tf.stack([f(value) for value in found]) for f in (tf.reduce_min, tf.reduce_max)]
            return tf.stack(counts), *extremes

        self._measure = measure

    def before_step(self, step: int) -> None:
        """See `TrainingHooks.before_step`."""
        if step not in self._moments or not self._observed:
            return
        first: dict[str, float] = {}
        for _ in range(_MOST_ROUNDS):
            clipped, limits = self._clipped()
            if not clipped:
                break
            first = clipped | first
            self._simulated.widen({group: limits[group] for group in clipped})
        if first:
            worst = max(first, key=lambda group: first[group])
            _LOG.info(
                'step %d of %d: widened the ranges of %d of %d activations, which training had moved the values out '
                'of; most was cut off of %r, %.0f %% of what makes its values differ',
                step,
                self._num_steps,
                len(first),
                len({a.group for a in self._observed}),
                worst,
                100 * first[worst],
            )

    def _clipped(self) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """How much is cut off where that is too much, and the extremes of the values, by group."""
        ranges = self._simulated.ranges()
        lows, highs = (
            tf.constant([ranges[a.group][end] for a in self._observed], tf.float32) for end in (0, 1)
        )
        counts = np.zeros((len(self._observed), POSITIONS), np.int64)
        extremes = []
        for batch in self._batches:
            inputs = {name: tf.constant(batch[name]) for name in self._simulated.inputs}
            of_batch, *ends = (found.numpy() for found in self._measure(inputs, lows, highs))
            counts += of_batch
            extremes.append(ends)
        lowest, highest = np.min([low for low, _ in extremes], 0), np.max([high for _, high in extremes], 0)
        clipped: dict[str, float] = {}
        limits: dict[str, tuple[float, float]] = {}
        for n, activation in enumerate(self._observed):
            share, group = clipping(counts[n]), activation.group
            if share > _MOST_CLIPPING:
                clipped[group] = max(share, clipped.get(group, 0.0))
            low, high = limits.get(group, (0.0, 0.0))
            limits[group] = min(low, float(lowest[n])), max(high, float(highest[n]))
        return clipped, limits
