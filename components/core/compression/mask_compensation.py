"""What masks do to the kept weights of a net while it is pruned step by step."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.constraints.constrained_model import ConstrainedModel
from tfx_edge.components.core.compression.constraints.sparsity_structure import MOfN
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning_criteria import PruningCriterion
from tfx_edge.components.core.compression.pruning_options import PruningOptions
from tfx_edge.components.core.compression.training.fine_tuning_options import MOST_PASSES, FineTuningOptions
from tfx_edge.components.core.compression.weights.compensation import compensated
from tfx_edge.components.core.compression.weights.input_moments import InputMoments, input_moments
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite

_LOG = logging.getLogger(__name__)
# Whose examples tell what layers read.
_BATCHES = 8
# Beyond this share of zeros layers read something else than in the incoming model, by whose activations a dropped
# weight is made up for.
MOST_ZEROS = 0.75


class MaskCompensation:
    """Lets kept weights make up for those that a mask drops (`compensated`), where it is known what a layer reads.

    Args:
      moments: by key of the variable, of `input_moments`.

    Example:
      ```
      compensation, batches = measured(graph, selected, batches)
      compensation.apply(model, selected[0], keep)
      model.set_mask(selected[0].variable.key, keep)
      ```
    """

    def __init__(self, moments: Mapping[str, InputMoments]) -> None:
        self._moments = moments

    def scores(
        self, model: ConstrainedModel, sites: Sequence[WeightSite], scores: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Scores by which what was dropped stays so: others have made up for it, and it would count twice.

        Args:
          model: with the masks until now.
          sites: of the weights.
          scores: of each weight, 0 or above.
        """
        return [
            np.where(model.mask(site.variable.key), score, np.float32(-1))
            if site.variable.key in self._moments
            else score
            for site, score in zip(sites, scores, strict=True)
        ]

    def apply(self, model: ConstrainedModel, site: WeightSite, keep: np.ndarray) -> None:
        """Changes the kept values of a weight whose mask is about to become `keep`."""
        key = site.variable.key
        if key not in self._moments:
            return
        before, variable = model.mask(key), model.variables[key]
        if np.array_equal(before, keep):
            return
        value = variable.numpy()
        changed = compensated(value, before, keep, self._moments[key])
        variable.assign(np.where(_has_output(value, site), changed, value))


def is_compensated(
    pruning: PruningOptions, fine_tuning: FineTuningOptions, criterion: PruningCriterion
) -> bool:
    """Whether kept weights are to make up for dropped ones; the log says why not.

    Args:
      pruning: what to prune, and for whom compensation is.
      fine_tuning: how to train.
      criterion: that ranks the weights.

    Returns:
      False for NEVER, without training steps, beyond MOST_ZEROS, where dropped weights may come back, and for
      FEW_EXAMPLES where no example is trained on more than MOST_PASSES times; with a warning where ALWAYS asked for it.
    """
    if pruning.compensation == 'NEVER':
        return False
    level = logging.WARNING if pruning.compensation == 'ALWAYS' else logging.INFO
    if not fine_tuning.num_steps:
        _LOG.log(
            level, 'without training steps no kept weight makes up for dropped ones (Pruning.compensation)'
        )
        return False
    if pruning.compensation == 'FEW_EXAMPLES' and fine_tuning.passes <= MOST_PASSES:
        _LOG.info(
            'training alone makes up for dropped weights: no example is trained on more than %d times '
            '(Pruning.compensation)',
            MOST_PASSES,
        )
        return False
    if criterion.dropped_weights_learn:
        _LOG.log(
            level,
            'Pruning.compensation is not for criterion %s: dropped weights may come back',
            pruning.criterion,
        )
        return False
    structure = pruning.structure
    share = structure.m / structure.n if isinstance(structure, MOfN) else pruning.target_sparsity
    if share > MOST_ZEROS:
        _LOG.log(
            level,
            'training alone makes up for dropped weights: the target is %.0f%% zeros, and Pruning.compensation is for '
            'up to %.0f%%',
            100 * share,
            100 * MOST_ZEROS,
        )
        return False
    return True


def measured(
    graph: ServingGraph, sites: Sequence[WeightSite], batches: Iterator[Mapping[str, np.ndarray]]
) -> tuple[MaskCompensation, Iterator[Mapping[str, np.ndarray]]]:
    """A compensation for weights, by what their layers read in the first batches; says for which there is none.

    Args:
      graph: the incoming signature.
      sites: of the weights.
      batches: of `training_batches`.

    Returns:
      The compensation, and the same batches.
    """
    seen = list(itertools.islice(batches, _BATCHES))
    moments = input_moments(graph, sites, seen)
    others = [site.variable.name for site in sites if site.variable.key not in moments]
    _LOG.info(
        'kept weights make up for dropped ones in %d of %d weights (Pruning.compensation)%s',
        len(moments),
        len(sites),
        f'; training alone does in {", ".join(others)}' if others else '',
    )
    return MaskCompensation(moments), itertools.chain(seen, batches)


def _has_output(value: np.ndarray, site: WeightSite) -> np.ndarray:
    """Which outputs of a weight are used, as far as training has shown it: it never moved the weights of a dead unit.

    To stay as they came is how `without_effect` tells them.
    """
    moved = value != site.variable.value
    if not moved.any():
        return np.ones((), bool)
    axes = tuple(axis for axis in range(value.ndim) if axis not in site.channel_axes)
    return moved.any(axes, keepdims=True)
