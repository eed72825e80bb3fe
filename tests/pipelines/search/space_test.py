"""The parameters of a search, and which combinations are routes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from tests.pipelines.search.routes import routes
from tfx_edge.pipelines.search.space import NONE, space_of

SPACE = space_of(routes())


def test_a_level_is_a_parameter_and_may_be_passed_over_but_for_the_last():
    assert SPACE.choices == {
        'quantization': ('float16', 'int8', 'int4x8'),
        'qat': (NONE, 'qat', 'qatw4'),
        'clustering': (NONE, 'clusters16', 'clusters8'),
        'pruning': (NONE, 'zeros50', 'zeros75', 'zeros90'),
    }


def test_every_route_is_a_combination_and_every_other_combination_is_none():
    combinations = [
        dict(zip(SPACE.choices, choices, strict=True))
        for choices in itertools.product(*SPACE.choices.values())
    ]
    found = [SPACE.route(combination) for combination in combinations]
    assert sorted(filter(None, found)) == sorted(route.name for route in routes())
    assert found.count(None) == len(combinations) - 60
    assert SPACE.route({**combinations[0], 'qat': 'qat', 'quantization': 'float16'}) is None


def test_several_ways_to_train_are_a_parameter_of_routes_that_train():
    def route(training, *steps):
        stages = tuple(SimpleNamespace(level=level, step=step) for level, step in steps)
        return SimpleNamespace(
            name='-'.join(step for _, step in steps) + training, stages=stages, training=training
        )

    int8, qat = ('quantization', 'int8'), ('qat', 'qat')
    space = space_of([route('', int8), route('training1', qat, int8), route('training2', qat, int8)])
    assert space.choices['fine_tuning'] == (NONE, 'training1', 'training2')
    assert (
        space.route({'fine_tuning': 'training2', 'qat': 'qat', 'quantization': 'int8'}) == 'qat-int8training2'
    )
    assert space.route({'fine_tuning': NONE, 'qat': 'qat', 'quantization': 'int8'}) is None


def test_nearest_are_all_that_differ_in_the_fewest_parameters():
    no_route = {'pruning': 'zeros50', 'clustering': NONE, 'qat': 'qat', 'quantization': 'float16'}
    assert SPACE.nearest(no_route, SPACE.routes) == ['zeros50-float16', 'zeros50-qat-int8']
    left = [name for name in SPACE.routes if not name.startswith('zeros50')]
    assert 'zeros75-float16' in SPACE.nearest(no_route, left)
    assert SPACE.nearest(no_route, ['clusters8-int4x8']) == ['clusters8-int4x8']
