"""In which order routes are walked, and what ends a walk early."""

from __future__ import annotations

from typing import Any

import pytest
from tfx.dsl.compiler import compiler

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.selection.route import Route
from tfx_edge.pipelines.digits import tree_pipeline
from tfx_edge.pipelines.route_walk import Walk, in_order_of_walk, walks

pytestmark = pytest.mark.slow

ROUTES = (Route('a', components=('Q-a', 'E-a')), Route('b', components=('P', 'Q-b', 'E-b')))


def compiled(tmp_path: Any, **selection: Any) -> Any:
    tree = proto.DeploymentTree(
        levels=['pruning', 'clustering'], quantization=[{'mode': 'INT8'}], selection=selection
    )
    pipeline = tree_pipeline.create_pipeline(
        str(tmp_path), str(tmp_path), str(tmp_path), str(tmp_path / 'metadata.sqlite'), tree=tree
    )
    return compiler.Compiler().compile(pipeline)


def test_routes_of_few_steps_come_first_and_each_is_finished_before_the_next(tmp_path):
    ordered = [node.pipeline_node.node_info.id for node in in_order_of_walk(compiled(tmp_path))]
    assert ordered == [
        'ImportExampleGen',
        'Trainer',
        'TFLiteQuantizer-int8',
        'EdgeEvaluator-int8',
        'Clusterer-clusters16',
        'TFLiteQuantizer-clusters16-int8',
        'EdgeEvaluator-clusters16-int8',
        'Pruner-zeros50',
        'TFLiteQuantizer-zeros50-int8',
        'EdgeEvaluator-zeros50-int8',
        'Clusterer-zeros50-clusters16',
        'TFLiteQuantizer-zeros50-clusters16-int8',
        'EdgeEvaluator-zeros50-clusters16-int8',
        'EdgeSelector',
        'Pusher',
    ]


def test_the_walk_is_that_of_the_selection(tmp_path):
    (walk,) = walks(compiled(tmp_path, stop_at_first=True, budget_minutes=1.5))
    assert (walk.stop_at_first, walk.budget_minutes) == (True, 1.5)
    assert [route.name for route in walk.routes] == [
        'int8',
        'clusters16-int8',
        'zeros50-int8',
        'zeros50-clusters16-int8',
    ]


@pytest.mark.parametrize(
    ('limits', 'done', 'lost', 'minutes', 'reason'),
    [
        ({}, ['Q-a', 'E-a'], [], 1e6, ''),
        ({'stop_at_first': True}, ['Q-a'], [], 1, ''),
        ({'stop_at_first': True}, ['Q-a', 'E-a'], [], 1, 'a holds every limit (Selection.stop_at_first)'),
        ({'budget_minutes': 3}, ['Q-a', 'E-a'], [], 2.9, ''),
        ({'budget_minutes': 3}, ['Q-a', 'E-a'], [], 3, 'the budget of 3 minutes is spent'),
        # The first route is always finished, and so is one that has begun,
        ({'budget_minutes': 3}, ['Q-a'], [], 3, ''),
        ({'budget_minutes': 3}, ['Q-a', 'E-a', 'P'], [], 9, ''),
        # unless it is lost.
        ({'budget_minutes': 3}, ['Q-a', 'E-a', 'P'], ['Q-b'], 9, 'the budget of 3 minutes is spent'),
    ],
)
def test_a_walk_ends_where_it_was_asked_to(limits, done, lost, minutes, reason):
    found = Walk(ROUTES, **limits).enough(done, lost, minutes, lambda evaluator: evaluator == 'E-a')
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_what_is_left_belongs_to_unfinished_routes_alone():
    routes = (*ROUTES, Route('c', components=('P', 'C', 'Q-c', 'E-c')), Route('d', components=('P', 'E-d')))
    walk = Walk(routes, selector='S', users={'E-c': frozenset({'S'}), 'C': frozenset({'Q-c'})})
    assert walk.only_of_others(['Q-a', 'E-a', 'P', 'Q-b', 'E-b'], ['E-d']) == ['C', 'Q-c', 'E-c']


@pytest.mark.parametrize('other', ['E-other', 'S-other'])
def test_what_something_else_needs_is_not_left_out(other):
    users = {'P': frozenset({'Q-b', other}), 'Q-b': frozenset({'E-b'}), 'E-b': frozenset({'S'})}
    walk = Walk(ROUTES, selector='S', users=users)
    assert walk.only_of_others(['Q-a', 'E-a'], []) == ['Q-b', 'E-b']


def test_a_selection_that_came_with_the_run_is_checked_before_anything_runs(tmp_path):
    pipeline = compiled(tmp_path)
    (node,) = (n.pipeline_node for n in pipeline.nodes if n.pipeline_node.node_info.id == 'EdgeSelector')
    value = node.parameters.parameters['selection_config'].field_value
    value.string_value = '{"budget_minutes": -3}'
    with pytest.raises(EdgeError, match='budget_minutes is -3'):
        walks(pipeline)
