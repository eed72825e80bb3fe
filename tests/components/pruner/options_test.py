"""`proto.Pruning` is checked where it is written."""

from __future__ import annotations

import pytest

from tfx_edge import proto
from tfx_edge.components.core.compression.constraints.sparsity_structure import Block, MOfN
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.pruner.options import pruning_options


def test_defaults_are_those_of_the_message() -> None:
    options = pruning_options(proto.Pruning())
    assert (options.target_sparsity, options.power, options.schedule) == (0.5, 3.0, 'POLYNOMIAL')
    assert (options.scope, options.criterion, options.policy) == ('TENSOR', 'MAGNITUDE', 'ALL')
    assert options.structure is None


def test_fields_arrive_by_name() -> None:
    options = pruning_options(
        proto.Pruning(
            scope='GLOBAL',
            criterion='TAYLOR',
            policy='XNNPACK',
            structure={'block': {'height': 4, 'width': 2, 'pooling': 'MAX'}},
        )
    )
    assert (options.scope, options.criterion, options.policy) == ('GLOBAL', 'TAYLOR', 'XNNPACK')
    assert options.structure == Block(4, 2, 'MAX')


def test_m_of_n_goes_all_the_way_to_m() -> None:
    options = pruning_options(proto.Pruning(structure={'m_of_n': {}}))
    assert options.structure == MOfN(2, 4)
    assert (options.initial_sparsity, options.target_sparsity) == (0.0, 1.0)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'structure': {'block': {'height': 0}}}, r'Block.height is 0; expected 1 or more'),
        ({'structure': {'block': {'width': -1}}}, r'Block.width is -1; expected 1 or more'),
        ({'structure': {'m_of_n': {'m': 0}}}, r'MOfN.m is 0; expected above 0 and below n \(4\)'),
        ({'structure': {'m_of_n': {'m': 4}}}, r'MOfN.m is 4; expected above 0 and below n \(4\)'),
        (
            {'structure': {'m_of_n': {}}, 'target_sparsity': 0.5},
            'Pruning.target_sparsity is set together with structure m_of_n.*leave it unset',
        ),
        (
            {'structure': {'m_of_n': {}}, 'initial_sparsity': 0.0},
            'Pruning.initial_sparsity is set together with structure m_of_n.*leave it unset',
        ),
        (
            {'structure': {'m_of_n': {}}, 'scope': 'GLOBAL'},
            'scope GLOBAL is set together with structure m_of_n',
        ),
        ({'criterion': 'TAYLOR', 'schedule': 'CONSTANT'}, 'begin_step 0; expected 1 or more'),
    ],
)
def test_contradictions_are_refused_with_their_remedy(config: dict, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        pruning_options(proto.Pruning(**config))
