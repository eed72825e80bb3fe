"""What a weight counts when weights are dropped: one class for each value of `proto.Pruning.Criterion`.

A Pruner's parameters are checked with the names of these classes, before TensorFlow is imported: what they compute with
is imported where they use it.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    from tfx_edge.components.core.compression.training.training_hooks import Gradients
    from tfx_edge.components.core.compression.weights.weight_sites import WeightSite

# A power of two, so that the order among such weights stays.
_BELOW_ALL_OTHERS = np.float32(2.0**-64)
# Steps after each mask whose gradients are looked at.
_WATCHED_STEPS = 8
# Below this a gradient is rounding, as that of a student which answers as its teacher does; it moves nothing.
_ROUNDING = 1e-10


@dataclasses.dataclass(frozen=True)
class PrunedWeight:
    """A weight that is pruned.

    Attributes:
      site: where the graph uses it.
      variable: its trained values, those of dropped weights included; float32, of the site's shape.
      reads_units: whether it reads what other weights compute (`weights_that_read_units`).
    """

    site: WeightSite
    variable: tf.Variable
    reads_units: bool


class PruningCriterion(abc.ABC):
    """Scores the weights each time that they are masked; those of the lowest scores are dropped.

    A subclass that stands in `CRITERIA` under the name of a value of `proto.Pruning.Criterion` is all that a criterion
    needs.

    Args:
      weights: that are pruned.
      seed: of what is drawn at random, `FineTuning.seed`.

    Attributes:
      dropped_weights_learn: whether a dropped weight goes on getting the gradient at its place, so that it may come
        back (Lin et al., 2020, arXiv:2006.07253).
      needs_gradients: whether the scores say nothing before the first step.
      state: the variables that it changes; a run that was killed continues with them.
    """

    dropped_weights_learn: ClassVar[bool]
    needs_gradients: ClassVar[bool]

    def __init__(self, weights: Sequence[PrunedWeight], seed: int) -> None:
        self.weights = tuple(weights)
        self.seed = seed
        self.state: tuple[tf.Variable, ...] = ()

    def observe(self, gradients: Gradients) -> None:
        """Sees the gradients of each step before they are applied; traced once, as a part of the step."""
        del gradients  # not all criteria need them

    @abc.abstractmethod
    def scores(self) -> list[np.ndarray]:
        """How much each weight counts now: floating arrays of the weights' shapes."""

    def masked(self, masks: Sequence[np.ndarray]) -> None:
        """Called with the masks that were made of the scores: boolean arrays, True is kept."""
        del masks  # not all criteria keep state

    def dropped_first(self) -> list[int]:
        """How many of each weight were found to have no effect, and go before all others."""
        return [0 for _ in self.weights]


class Magnitude(PruningCriterion):
    """|weight|; first of all the weights go that have no effect (`without_effect`), whatever their magnitude.

    Weights of dead units (Lu et al., 2019, arXiv:1903.06733) are as large as those of the others: ranked by magnitude
    alone they keep the places of weights that count.

    A dropped weight keeps its value, and comes back at the next mask when a kept one falls below it. Gradients at the
    place of a dropped weight (Lin et al., 2020) would move it as far as a kept one in each step of
    Adam, whatever their size; at the rates that many zeros need, masks would follow noise.
    """

    dropped_weights_learn = False
    needs_gradients = False

    def __init__(self, weights: Sequence[PrunedWeight], seed: int) -> None:
        import tensorflow as tf

        super().__init__(weights, seed)
        # Whether a mask keeps each weight, and whether it had an effect while one did: dropped ones get no gradient.
        self._kept = [_flags(weight, True) for weight in weights]
        self._counts = [_flags(weight, True) for weight in weights]
        self._with_gradient = [_flags(weight, False) for weight in weights]
        self._left = tf.Variable(_WATCHED_STEPS, trainable=False)
        self.state = (*self._kept, *self._counts, *self._with_gradient, self._left)

    def observe(self, gradients: Gradients) -> None:
        """Notes gradients that move nothing: those of SGD may be too small to, beside the weight.

        Not in all steps, each of which would read all gradients once more: what Adam moves is seen without it.
        """
        import tensorflow as tf

        flags = {
            id(weight.variable): seen for weight, seen in zip(self.weights, self._with_gradient, strict=True)
        }

        def note() -> tf.Tensor:
            for gradient, variable in gradients:
                if id(variable) in flags:
                    seen = flags[id(variable)]
                    seen.assign(seen | (tf.abs(gradient) > _ROUNDING))
            return self._left.assign_sub(1)

        tf.cond(self._left > 0, note, self._left.read_value)

    def scores(self) -> list[np.ndarray]:
        from tfx_edge.components.core.compression.weights.weight_effect import without_effect

        scores = []
        state = zip(self.weights, self._kept, self._counts, self._with_gradient, strict=True)
        for weight, kept, counts, with_gradient in state:
            value = weight.variable.numpy()
            touched = (value != weight.site.variable.value) | with_gradient.numpy()
            # A weight that moved may stand at its old value again by chance.
            with_gradient.assign(touched)
            idle = without_effect(weight.site, touched, reads_units=weight.reads_units)
            counting = np.where(kept.numpy(), ~idle, counts.numpy())
            counts.assign(counting)
            score = np.abs(value)
            score[~counting] *= _BELOW_ALL_OTHERS
            scores.append(score)
        return scores

    def masked(self, masks: Sequence[np.ndarray]) -> None:
        for kept, keep in zip(self._kept, masks, strict=True):
            kept.assign(keep)
        self._left.assign(_WATCHED_STEPS)

    def dropped_first(self) -> list[int]:
        return [int(np.count_nonzero(~counts.numpy())) for counts in self._counts]


class Taylor(PruningCriterion):
    """|weight * gradient| (Molchanov et al., 2016, arXiv:1611.06440), added up over the steps since the mask before.

    This is, to first order, what the loss would change by without the weight. A dropped weight has no gradient, and
    stays dropped: its sum begins at -1, below every other score, so that a kept weight without gradient does not bring
    it back.
    """

    dropped_weights_learn = False
    needs_gradients = True

    def __init__(self, weights: Sequence[PrunedWeight], seed: int) -> None:
        import tensorflow as tf

        super().__init__(weights, seed)
        self.state = tuple(tf.Variable(tf.zeros_like(w.variable), trainable=False) for w in weights)
        self._sums = {id(w.variable): total for w, total in zip(weights, self.state, strict=True)}

    def observe(self, gradients: Gradients) -> None:
        import tensorflow as tf

        for gradient, variable in gradients:
            if id(variable) in self._sums:
                self._sums[id(variable)].assign_add(tf.abs(variable * gradient))

    def scores(self) -> list[np.ndarray]:
        """The sums; magnitudes as long as no gradient was seen."""
        sums = [total.numpy() for total in self.state]
        if any((total > 0).any() for total in sums):
            return sums
        return [np.abs(weight.variable.numpy()) for weight in self.weights]

    def masked(self, masks: Sequence[np.ndarray]) -> None:
        """Resets the accumulators for new masks."""
        for total, keep in zip(self.state, masks, strict=True):
            total.assign(keep.astype(np.float32) - 1.0)


CRITERIA: Mapping[str, type[PruningCriterion]] = {'MAGNITUDE': Magnitude, 'TAYLOR': Taylor}


def gradient_free() -> str:
    """The criteria that can score before the first step, for an error's remedy: `MAGNITUDE`."""
    return ' or '.join(name for name, criterion in CRITERIA.items() if not criterion.needs_gradients)


def _flags(weight: PrunedWeight, value: bool) -> tf.Variable:
    import tensorflow as tf

    return tf.Variable(np.full(weight.variable.shape, value), trainable=False)
