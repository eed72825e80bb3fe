"""Pruning criteria: each value of the message has a class, and what a class says is what it does."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge import proto
from tfx_edge.components.core.compression.pruning_criteria import CRITERIA, PrunedWeight, PruningCriterion
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from .conftest import open_graph

# More of what all criteria have to do stands in pruning_test.py.


@pytest.fixture
def weight(module_saved_model: pathlib.Path) -> PrunedWeight:
    (site,) = (
        s for s in find_weight_sites(open_graph(str(module_saved_model))) if s.variable.name == 'matrix'
    )
    return PrunedWeight(site, tf.Variable(site.variable.value), reads_units=True)


def _made(name: str, weight: PrunedWeight) -> PruningCriterion:
    return CRITERIA[name]([weight], seed=3)


def test_each_value_of_the_message_has_a_criterion() -> None:
    assert list(CRITERIA) == proto.Pruning.Criterion.keys()


@pytest.mark.parametrize('name', CRITERIA)
def test_scores_have_the_weights_shapes_and_do_not_depend_on_the_run(name: str, weight: PrunedWeight) -> None:
    (first,), (again,) = _made(name, weight).scores(), _made(name, weight).scores()
    assert first.shape == weight.site.variable.value.shape
    assert np.issubdtype(first.dtype, np.floating)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    'name', [name for name, found in CRITERIA.items() if not found.dropped_weights_learn]
)
def test_dropped_weights_that_do_not_learn_stay_below_all_others(name: str, weight: PrunedWeight) -> None:
    criterion = _made(name, weight)
    (scores,) = criterion.scores()
    keep = scores > np.median(scores)
    criterion.masked([keep])
    # What a step gives a dropped weight is no gradient.
    criterion.observe([(tf.constant(0.1 * keep.astype(np.float32)), weight.variable)])
    (scores,) = criterion.scores()
    assert scores[~keep].max() < scores[keep].min()


def test_taylor_keeps_weights_without_gradient_above_those_it_dropped(weight: PrunedWeight) -> None:
    criterion = _made('TAYLOR', weight)
    (scores,) = criterion.scores()
    keep = scores > np.median(scores)
    criterion.masked([keep])
    gradient = np.zeros(keep.shape, np.float32)
    gradient[tuple(np.argwhere(keep)[0])] = 0.1
    criterion.observe([(tf.constant(gradient), weight.variable)])
    (scores,) = criterion.scores()
    assert scores[~keep].max() < scores[keep].min()


def test_magnitude_ranks_weights_that_never_moved_below_all_others(weight: PrunedWeight) -> None:
    criterion = _made('MAGNITUDE', weight)
    moved = np.abs(weight.site.variable.value) < np.median(np.abs(weight.site.variable.value))
    weight.variable.assign(np.where(moved, 1.001, 1.0) * weight.site.variable.value)
    (scores,) = criterion.scores()
    assert scores[~moved].max() < scores[moved].min()
    order = np.argsort(scores[~moved])
    np.testing.assert_array_equal(order, np.argsort(np.abs(weight.site.variable.value[~moved])))


def test_a_gradient_that_is_too_small_to_move_a_weight_counts(weight: PrunedWeight) -> None:
    criterion = _made('MAGNITUDE', weight)
    moved = np.abs(weight.site.variable.value) < np.median(np.abs(weight.site.variable.value))
    weight.variable.assign(np.where(moved, 1.001, 1.0) * weight.site.variable.value)
    criterion.observe([(tf.fill(weight.variable.shape, 1e-8), weight.variable)])
    np.testing.assert_array_equal(criterion.scores()[0], np.abs(weight.variable.numpy()))


def test_a_weight_that_moved_and_is_back_at_its_old_value_counts(weight: PrunedWeight) -> None:
    criterion = _made('MAGNITUDE', weight)
    value = weight.site.variable.value
    weight.variable.assign(1.001 * value)
    criterion.scores()
    first = np.arange(value.size).reshape(value.shape) == 0
    weight.variable.assign(np.where(first, 1.0, 1.001) * value)
    np.testing.assert_array_equal(criterion.scores()[0], np.abs(weight.variable.numpy()))


def test_a_weight_that_was_dropped_before_it_moved_may_come_back(weight: PrunedWeight) -> None:
    criterion = _made('MAGNITUDE', weight)
    (scores,) = criterion.scores()
    keep = scores > np.median(scores)
    criterion.masked([keep])
    weight.variable.assign(np.where(keep, 0.01, 1.0) * weight.site.variable.value)
    (scores,) = criterion.scores()
    np.testing.assert_array_equal(scores, np.abs(weight.variable.numpy()))


def test_a_weight_that_had_no_effect_stays_below_the_others_when_it_is_dropped(weight: PrunedWeight) -> None:
    criterion = _made('MAGNITUDE', weight)
    value = weight.site.variable.value
    idle = np.abs(value) > np.median(np.abs(value))
    weight.variable.assign(np.where(idle, 1.0, 1.01) * value)
    criterion.scores()
    criterion.masked([~idle])
    weight.variable.assign(np.where(idle, 1.0, 0.01) * value)
    (scores,) = criterion.scores()
    assert scores[idle].max() < scores[~idle].min()


def test_taylor_adds_up_over_the_steps_since_the_mask_before(weight: PrunedWeight) -> None:
    criterion = _made('TAYLOR', weight)
    gradient = tf.ones_like(weight.variable)
    for _ in range(2):
        criterion.observe([(gradient, weight.variable), (tf.constant(1.0), tf.Variable(9.0))])
    value = np.abs(weight.site.variable.value)
    np.testing.assert_allclose(criterion.scores()[0], 2 * value, rtol=1e-6)
    criterion.masked([np.ones(value.shape, bool)])
    criterion.observe([(gradient, weight.variable)])
    np.testing.assert_allclose(criterion.scores()[0], value, rtol=1e-6)
