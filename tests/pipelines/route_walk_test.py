"""In which order routes are walked, and what ends a walk early."""

from __future__ import annotations

from typing import Any

import pytest
from tfx.dsl.compiler import compiler

from tfx_edge import proto
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
    ('limits', 'minutes', 'holds_all', 'reason'),
    [
        ({}, 1e6, True, ''),
        ({'stop_at_first': True}, 1, False, ''),
        ({'stop_at_first': True}, 1, True, 'a holds every limit (Selection.stop_at_first)'),
        ({'budget_minutes': 3}, 2.9, True, ''),
        ({'budget_minutes': 3}, 3, False, 'the budget of 3 minutes is spent (Selection.budget_minutes)'),
    ],
)
def test_a_walk_ends_where_it_was_asked_to(limits, minutes, holds_all, reason):
    assert Walk(ROUTES, **limits).enough(ROUTES[0], minutes, holds_all) == reason


def test_what_is_left_belongs_to_unfinished_routes_alone():
    walk = Walk((*ROUTES, Route('c', components=('P', 'C', 'Q-c', 'E-c'))))
    assert walk.finished_by('E-b').name == 'b'
    assert walk.finished_by('Q-b') is None
    assert walk.only_of_others(['Q-a', 'E-a', 'P', 'Q-b', 'E-b']) == ['C', 'Q-c', 'E-c']
