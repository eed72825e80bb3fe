"""Pruning of a SavedModel."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.constraints import codebook as codebooks
from tfx_edge.components.core.compression.constraints import sparsity
from tfx_edge.components.core.compression.constraints.constrained_model import (
    ConstrainedModel,
    incoming_constraints,
)
from tfx_edge.components.core.compression.constraints.constraints import Constraint
from tfx_edge.components.core.compression.constraints.sparsity_structure import (
    MOfN,
    block_masks,
    m_of_n_mask,
)
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.mask_compensation import MaskCompensation, is_compensated, measured
from tfx_edge.components.core.compression.pruning_criteria import (
    CRITERIA,
    PrunedWeight,
    PruningCriterion,
    gradient_free,
)
from tfx_edge.components.core.compression.pruning_options import PruningOptions
from tfx_edge.components.core.compression.thin_outputs import warn_of_thin_outputs
from tfx_edge.components.core.compression.training.fine_tuning import fine_tune
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.training_hooks import Gradients, TrainingHooks
from tfx_edge.components.core.compression.weights.computed_kernels import report_computed_kernels
from tfx_edge.components.core.compression.weights.weight_effect import weights_that_read_units
from tfx_edge.components.core.compression.weights.weight_selection import (
    select_pointwise_sites,
    select_weight_sites,
)
from tfx_edge.components.core.compression.weights.weight_sites import WeightSite, find_weight_sites
from tfx_edge.components.core.errors import EdgeError

_LOG = logging.getLogger(__name__)
# Making a mask takes as long per weight as one or two steps of a dense net, whose steps are the cheapest.
_MOST_UPDATES = 100
_FEWEST_UPDATES = 10
_WEIGHTS_PER_STEP = 40_000
_LONGEST_INTERVAL = 50
# Without FineTuning.learning_rate, the rate is the default up to 50 % zeros and three times that from 75 % on.
_RATE_BY_SHARE, _HIGHEST_RATE = 8.0, 3.0
# XNNPACK takes its sparse kernels from this share of zeros on (README of the delegate).
_XNNPACK_SHARE = 2 / 3


def prune(
    graph: ServingGraph,
    pruning: PruningOptions,
    fine_tuning: FineTuningOptions,
    batches: Iterator[Mapping[str, np.ndarray]] | None,
) -> dict[str, np.ndarray]:
    """Sets the least important weights to zero while the others are trained.

    Gradual pruning (Zhu and Gupta, 2017, arXiv:1710.01878); what a weight counts is up to the criterion
    (`pruning_criteria`).

    Codebooks that came in stay codebooks of the same size; one of their members becomes zero.

    Args:
      graph: the incoming signature.
      pruning: what to prune.
      fine_tuning: how to train; with no steps the target is applied at once.
      batches: of `training_batches`; None when there are no steps.

    Returns:
      New values of the trainable variables, by checkpoint key. Each selected weight (with scope GLOBAL: all
      of them together) has exactly `round(target_sparsity * size)` zeros, unless it came in with more; in
      blocks, as near to it as whole blocks allow; with MOfN, m in every n along its input channels.

    Raises:
      EdgeError: there is no weight to prune, the steps do not suffice for the options, or training fails.
    """
    schedule = _schedule(pruning, fine_tuning.num_steps)
    sites = find_weight_sites(graph)
    report_computed_kernels(graph, sites, 'prune')
    selected = _select(graph, sites, pruning)
    constraints = incoming_constraints(graph, sites)
    for site in selected:
        codebook = constraints[site.variable.key].codebook
        constraints[site.variable.key] = Constraint(
            keep=np.ones(site.variable.value.shape, bool),
            codebook=None if codebook is None else codebooks.with_zero(codebook),
        )
    if pruning.scope == 'TENSOR':
        others = '' if isinstance(pruning.structure, MOfN) else ", or set scope='GLOBAL'"
        warn_of_thin_outputs(graph, selected, _kept_of_each(selected, pruning), others=others)
    criterion_class = CRITERIA[pruning.criterion]
    model = ConstrainedModel(graph, sites, constraints, feedback=criterion_class.dropped_weights_learn)
    reading_units = weights_that_read_units(graph)
    weights = [
        PrunedWeight(site, model.variables[site.variable.key], site.variable.key in reading_units)
        for site in selected
    ]
    interval = pruning.frequency or _interval(schedule, sum(site.variable.value.size for site in selected))
    criterion = criterion_class(weights, fine_tuning.seed)
    compensation = MaskCompensation({})
    if is_compensated(pruning, fine_tuning, criterion) and batches is not None:
        free = [site for site in selected if constraints[site.variable.key].codebook is None]
        compensation, batches = measured(graph, free, batches)
    masks = _GradualMasks(
        model, selected, pruning, dataclasses.replace(schedule, frequency=interval), criterion, compensation
    )
    if fine_tuning.num_steps and batches is not None:
        fine_tune(
            graph,
            lambda inputs, fetch: graph.call(inputs, model.values(), fetch),
            list(model.variables.values()),
            batches,
            _fitted(fine_tuning, schedule),
            masks,
        )
    else:
        masks.before_step(schedule.end_step)
    values = model.final_values()
    if pruning.scope == 'GLOBAL':
        kept = {s.variable.key: int(np.count_nonzero(values[s.variable.key])) for s in selected}
        warn_of_thin_outputs(graph, selected, kept, others='')
    _report(values, selected, pruning, criterion.dropped_first())
    return values


def _fitted(fine_tuning: FineTuningOptions, schedule: sparsity.SparsitySchedule) -> FineTuningOptions:
    """A rate that falls when masks change no more, and one that fits how far the kept weights have to go."""
    fitted = dataclasses.replace(
        fine_tuning, constant_steps=max(fine_tuning.num_steps * 3 // 4, schedule.end_step)
    )
    if not fine_tuning.rate_is_open:
        return fitted
    times = min(1.0 + _RATE_BY_SHARE * max(schedule.target - 0.5, 0.0), _HIGHEST_RATE)
    if times > 1.0:
        _LOG.info(
            'learning rate %g: %.3g times the default for %.0f%% zeros (FineTuning.learning_rate sets another)',
            times * fine_tuning.learning_rate,
            times,
            100 * schedule.target,
        )
    return dataclasses.replace(fitted, learning_rate=times * fine_tuning.learning_rate)


class _GradualMasks(TrainingHooks):
    """Makes the masks anew when they are due, of the scores of a criterion."""

    def __init__(
        self,
        model: ConstrainedModel,
        selected: Sequence[WeightSite],
        pruning: PruningOptions,
        schedule: sparsity.SparsitySchedule,
        criterion: PruningCriterion,
        compensation: MaskCompensation,
    ) -> None:
        super().__init__([*model.state, *criterion.state])
        self._model = model
        self._selected = selected
        self._pruning = pruning
        self._schedule = schedule
        self._criterion = criterion
        self._compensation = compensation

    def before_step(self, step: int) -> None:
        if not self._schedule.is_update(step):
            return
        scores = self._compensation.scores(self._model, self._selected, self._criterion.scores())
        masks = _masks(scores, self._selected, self._pruning, self._schedule.sparsity(step))
        for site, keep in zip(self._selected, masks, strict=True):
            self._compensation.apply(self._model, site, keep)
            self._model.set_mask(site.variable.key, keep)
        self._criterion.masked(masks)

    def observe(self, gradients: Gradients) -> None:
        self._criterion.observe(gradients)

    def describe(self) -> str:
        return f'sparsity {_share_of_zeros(self._model.final_values(), self._selected):.1%}'


def _select(
    graph: ServingGraph, sites: tuple[WeightSite, ...], pruning: PruningOptions
) -> tuple[WeightSite, ...]:
    selected = select_weight_sites(sites, pruning.include, pruning.exclude, 'prune')
    if pruning.policy == 'XNNPACK':
        selected = select_pointwise_sites(graph, selected)
    if not isinstance(pruning.structure, MOfN):
        return selected
    for site in selected:
        if not site.sum_axes:
            _LOG.info('%s: not pruned; %s has no input channels to group', site.variable.name, site.op)
    grouped = tuple(site for site in selected if site.sum_axes)
    if not grouped:
        names = ', '.join(site.variable.name for site in selected)
        raise EdgeError(
            f'structure m_of_n leaves no weight to prune: {names} have no input channels to group; '
            'select other weights, or use structure block.'
        )
    return grouped


def _kept_of_each(sites: Sequence[WeightSite], pruning: PruningOptions) -> dict[str, int]:
    """How many values of each weight are to be other than zero, by variable key; blocks come near to it."""
    structure = pruning.structure
    share = structure.m / structure.n if isinstance(structure, MOfN) else pruning.target_sparsity
    sizes = {site.variable.key: site.variable.value.size for site in sites}
    return {key: size - math.floor(share * size + 0.5) for key, size in sizes.items()}


def _masks(
    scores: list[np.ndarray], sites: Sequence[WeightSite], pruning: PruningOptions, share: float
) -> list[np.ndarray]:
    """One mask for each site."""
    structure = pruning.structure
    if isinstance(structure, MOfN):
        zeros = math.floor(structure.m * share + 0.5)
        return [
            m_of_n_mask(score, site.sum_axes[0], zeros, structure.n)
            for score, site in zip(scores, sites, strict=True)
        ]
    axes = [site.channel_axes for site in sites]
    if pruning.scope == 'GLOBAL':
        return block_masks(scores, axes, structure, share) if structure else sparsity.masks(scores, share)
    if structure:
        pairs = zip(scores, axes, strict=True)
        return [block_masks([score], [axis], structure, share)[0] for score, axis in pairs]
    return [sparsity.mask(score, share) for score in scores]


def _schedule(pruning: PruningOptions, num_steps: int) -> sparsity.SparsitySchedule:
    if pruning.begin_step > num_steps:
        raise EdgeError(
            f'Pruning.begin_step is {pruning.begin_step}; expected FineTuning.num_steps ({num_steps}) or less. '
            'Lower it, or train for more steps.'
        )
    end = pruning.end_step or num_steps * 3 // 4
    schedule = sparsity.SparsitySchedule(
        initial=pruning.initial_sparsity,
        target=pruning.target_sparsity,
        power=0.0 if pruning.schedule == 'CONSTANT' else pruning.power,
        begin_step=pruning.begin_step,
        end_step=min(max(end, pruning.begin_step), num_steps),
        frequency=1,
    )
    if CRITERIA[pruning.criterion].needs_gradients and schedule.sparsity(0) >= schedule.target > 0:
        raise EdgeError(
            f'Pruning.criterion {pruning.criterion} needs gradients of steps before the target is met, and it is met '
            f'at step 0 (FineTuning.num_steps is {num_steps}). Train for more steps, or use criterion '
            f'{gradient_free()}.'
        )
    return schedule


def _interval(schedule: sparsity.SparsitySchedule, weights: int) -> int:
    """Steps between two masks: a function of the number of weights, so that masks take a few percent of the time."""
    steps = schedule.end_step - schedule.begin_step
    cheap = min(weights // _WEIGHTS_PER_STEP, _LONGEST_INTERVAL, steps // _FEWEST_UPDATES)
    return max(1, steps // _MOST_UPDATES, cheap)


def _report(
    values: Mapping[str, np.ndarray],
    selected: Sequence[WeightSite],
    pruning: PruningOptions,
    dropped_first: Sequence[int],
) -> None:
    for site, first in zip(selected, dropped_first, strict=True):
        value = values[site.variable.key]
        zeros = value.size - np.count_nonzero(value)
        _LOG.info('%s: %d of %d weights are zero', site.variable.name, zeros, value.size)
        if first:
            _LOG.info(
                '%s: %d of its weights had no effect on any example and went first (units whose ReLU is always zero)',
                site.variable.name,
                first,
            )
    share = _share_of_zeros(values, selected)
    if pruning.policy == 'XNNPACK' and share < _XNNPACK_SHARE:
        _LOG.warning(
            '%.1f%% of the 1x1 kernels are zero; XNNPACK uses sparse kernels from 66.7%% on', 100 * share
        )


def _share_of_zeros(values: Mapping[str, np.ndarray], sites: Sequence[WeightSite]) -> float:
    zeros = sum(int(np.count_nonzero(values[site.variable.key] == 0)) for site in sites)
    return zeros / sum(site.variable.value.size for site in sites)
