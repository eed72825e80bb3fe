"""Which routes a tree has, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge import proto
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.pipelines.tree.levels import LEVELS
from tfx_edge.pipelines.tree.plan import planned_routes

pytestmark = pytest.mark.slow


def names(**tree) -> list[str]:
    return [route.name for route in planned_routes(proto.DeploymentTree(**tree), LEVELS)]


def test_the_default_tree_has_every_combination_and_qat_leads_to_its_own_mode():
    modes = ['float16', 'dynamicint8', 'int8', 'int16x8']
    prefixes = ['', 'clusters16-', 'zeros50-', 'zeros50-clusters16-']
    expected = {f'{prefix}{mode}' for prefix in prefixes for mode in [*modes, 'qat-int8']}
    assert set(names()) == expected
    assert len(names()) == 20


def test_lists_of_parameters_are_alternatives():
    found = names(
        levels=['pruning'],
        pruning=[{'target_sparsity': 0.5}, {'target_sparsity': 0.625, 'scope': 'GLOBAL'}],
        quantization=[{'mode': 'INT8'}],
    )
    assert found == ['int8', 'zeros50-int8', 'zeros62p5global-int8']


@pytest.mark.parametrize(
    ('bits', 'routes'),
    [
        ({}, ['int8', 'int16x8', 'int4x8', 'float16', 'qat-int8']),
        ({'activation_bits': 16}, ['int8', 'int16x8', 'int4x8', 'float16', 'qata16-int16x8']),
        ({'weight_bits': 4}, ['int8', 'int16x8', 'int4x8', 'float16', 'qatw4-int4x8']),
    ],
)
def test_a_file_behind_qat_computes_with_the_bits_that_were_simulated(bits, routes):
    modes = [{'mode': mode} for mode in ('INT8', 'INT16X8', 'INT4X8', 'FLOAT16')]
    assert names(levels=['qat'], qat=[bits], quantization=modes) == routes


def test_only_the_routes_that_are_named_are_made():
    assert names(only=['zeros50-int8', 'int8']) == ['int8', 'zeros50-int8']
    assert names(only=['int8'], max_routes=1) == ['int8']


def test_levels_are_taken_in_the_order_in_which_they_are_named():
    found = names(levels=['clustering', 'pruning'], quantization=[{'mode': 'INT8'}])
    assert found == ['int8', 'zeros50-int8', 'clusters16-int8', 'clusters16-zeros50-int8']


def test_structures_and_numbers_of_clusters_are_in_the_names():
    found = names(
        levels=['pruning', 'clustering'],
        pruning=[
            {'structure': {'m_of_n': {'m': 2, 'n': 4}}},
            {'structure': {'block': {'height': 4, 'width': 1}}},
        ],
        clustering=[{'number_of_clusters': 8}],
        quantization=[{'mode': 'INT8'}],
        leave_out=['^int8$', '^clusters'],
    )
    assert found == [
        'zeros2of4-int8',
        'zeros2of4-clusters8-int8',
        'zeros50block4x1-int8',
        'zeros50block4x1-clusters8-int8',
    ]


def test_alternatives_of_the_same_short_name_are_numbered():
    found = names(
        levels=['pruning'],
        pruning=[{'criterion': 'MAGNITUDE'}, {'criterion': 'TAYLOR'}],
        quantization=[{'mode': 'INT8'}],
    )
    assert found == ['int8', 'zeros50-int8', 'zeros50v2-int8']


def test_several_ways_to_train_are_alternatives_of_whole_routes_that_train():
    routes = planned_routes(
        proto.DeploymentTree(
            levels=['pruning', 'qat'],
            quantization=[{'mode': 'INT8'}],
            fine_tuning=[{'learning_rate': 1e-3}, {'learning_rate': 3e-4}],
        ),
        LEVELS,
    )
    assert [route.name for route in routes] == [
        'int8',
        *(f'training{n}-{rest}' for n in (1, 2) for rest in ('qat-int8', 'zeros50-int8', 'zeros50-qat-int8')),
    ]
    assert {route.fine_tuning.learning_rate for route in routes if route.training == 'training2'} == {3e-4}


@pytest.mark.parametrize(
    ('tree', 'line'),
    [
        (
            {'levels': ['prunning']},
            "DeploymentTree.levels names 'prunning'; expected any of: pruning, clustering, qat",
        ),
        ({'levels': ['quantization']}, "names 'quantization'"),
        ({'levels': ['qat', 'qat']}, "names 'qat' twice"),
        ({'levels': ['qat'], 'pruning': [{}]}, 'DeploymentTree.pruning has alternatives, and levels leaves'),
        ({'pruning': [{}, {}]}, 'DeploymentTree.pruning holds the same alternative twice'),
        ({'leave_out': ['(']}, "leave_out holds '(', which is not a regular expression"),
        (
            {'only': ['zeros50-int9']},
            "only names 'zeros50-int9', which is no route of the tree; expected names such as",
        ),
        ({'leave_out': ['.']}, 'leaves no route of 20'),
        ({'qat': [{'weight_bits': 4}]}, "DeploymentTree.qat holds 'qatw4', which no route can take"),
        ({'only': ['int8'], 'leave_out': ['int8']}, 'leave_out and only leave no route of 20'),
        ({'max_routes': 19}, 'the tree has 20 routes, more than DeploymentTree.max_routes 19'),
    ],
)
def test_a_tree_at_fault_is_refused_with_the_remedy(tree, line):
    with pytest.raises(EdgeError) as caught:
        names(**tree)
    assert line in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(['pruning', 'clustering', 'qat']), unique=True),
    st.lists(st.sampled_from([0.3, 0.5, 0.75]), unique=True),
    st.lists(st.sampled_from(['INT8', 'INT16X8', 'FLOAT16', 'DYNAMIC_INT4']), unique=True),
)
def test_names_are_unique_and_every_prefix_of_a_route_is_there_too(levels, sparsities, modes):
    chosen = levels or ['pruning', 'clustering', 'qat']
    tree = proto.DeploymentTree(
        levels=levels,
        pruning=[{'target_sparsity': value} for value in sparsities] if 'pruning' in chosen else [],
        quantization=[{'mode': mode} for mode in modes],
    )
    routes = planned_routes(tree, LEVELS)
    found = [route.name for route in routes]
    assert len(set(found)) == len(found)
    for route in routes:
        shorter = [stage.step for stage in route.stages if stage.level != 'qat']
        assert '-'.join(shorter) in found
