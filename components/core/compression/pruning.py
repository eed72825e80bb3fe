"""Magnitude pruning of a SavedModel."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping

import numpy as np

from tfx_edge.components.core.compression import codebook as codebooks
from tfx_edge.components.core.compression.constrained_model import ConstrainedModel, incoming_constraints
from tfx_edge.components.core.compression.constraints import Constraint
from tfx_edge.components.core.compression.fine_tuning import FineTuningOptions, fine_tune
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.compression.sparsity import SparsitySchedule, magnitude_mask
from tfx_edge.components.core.compression.weight_sites import find_weight_sites, select_weight_sites

_LOG = logging.getLogger(__name__)
_UPDATES = 100


@dataclasses.dataclass(frozen=True)
class PruningOptions:
    """What to prune; the fields of `proto.Pruning`, with its defaults filled in."""

    target_sparsity: float
    initial_sparsity: float
    schedule: str
    power: float
    begin_step: int
    end_step: int
    frequency: int
    include: tuple[str, ...]
    exclude: tuple[str, ...]


def prune(
    graph: ServingGraph,
    pruning: PruningOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Sets the weights of least magnitude to zero while the others are trained.

    Magnitude pruning with a gradual schedule (Zhu and Gupta, 2017, arXiv:1710.01878). Codebooks that
    came in stay codebooks of the same size; one of their members becomes zero.

    Args:
      graph: the incoming signature.
      pruning: what to prune.
      fine_tuning: how to train; with no steps the target is applied at once.
      batches: of `training_batches`; None when there are no steps.

    Returns:
      New values of the trainable variables, by checkpoint key. Each selected weight has exactly
      `round(target_sparsity * size)` zeros, unless it came in with more.

    Raises:
      EdgeError: there is no weight to prune, or training fails.
    """
    sites = find_weight_sites(graph)
    selected = select_weight_sites(sites, pruning.include, pruning.exclude, 'prune')
    constraints = incoming_constraints(graph, sites)
    for site in selected:
        codebook = constraints[site.variable.key].codebook
        constraints[site.variable.key] = Constraint(
            keep=np.ones(site.variable.value.shape, bool),
            codebook=None if codebook is None else codebooks.with_zero(codebook),
        )
    model = ConstrainedModel(graph, sites, constraints)
    schedule = _schedule(pruning, fine_tuning.num_steps)

    def update_masks(step: int) -> None:
        if schedule.is_update(step):
            for site in selected:
                key = site.variable.key
                model.set_mask(key, magnitude_mask(model.weight(key), schedule.sparsity(step)))

    if fine_tuning.num_steps and batches is not None:
        fine_tune(
            graph,
            lambda inputs, fetch: graph.call(inputs, model.values(), fetch),
            list(model.variables.values()),
            batches,
            fine_tuning,
            before_step=update_masks,
            describe=lambda: f'sparsity {_share_of_zeros(model.final_values(), selected):.1%}',
        )
    else:
        update_masks(schedule.end_step)
    values = model.final_values()
    for site in selected:
        value = values[site.variable.key]
        zeros = value.size - np.count_nonzero(value)
        _LOG.info('%s: %d of %d weights are zero', site.variable.name, zeros, value.size)
    return values


def _schedule(pruning: PruningOptions, num_steps: int) -> SparsitySchedule:
    end = pruning.end_step or num_steps * 3 // 4
    end = min(max(end, pruning.begin_step), num_steps)
    return SparsitySchedule(
        initial=pruning.initial_sparsity,
        target=pruning.target_sparsity,
        power=0.0 if pruning.schedule == 'CONSTANT' else pruning.power,
        begin_step=pruning.begin_step,
        end_step=end,
        # A mask costs about as much as a step; a hundred of them cost little.
        frequency=pruning.frequency or max(1, (end - pruning.begin_step) // _UPDATES),
    )


def _share_of_zeros(values: Mapping[str, np.ndarray], sites: tuple) -> float:
    zeros = sum(int(np.count_nonzero(values[site.variable.key] == 0)) for site in sites)
    return zeros / sum(site.variable.value.size for site in sites)
