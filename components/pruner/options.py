"""`proto.Pruning` as the options of `core.compression.pruning`, each value checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tfx_edge import proto
from tfx_edge.components.core.compression.constraints.sparsity_structure import Block, MOfN
from tfx_edge.components.core.compression.pruning_criteria import CRITERIA
from tfx_edge.components.core.compression.pruning_options import PruningOptions
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.tfx_interface.exec_properties import require, require_patterns, require_supported
from tfx_edge.components.training.configuration import Configuration
from tfx_edge.components.training.parameter_check import check_training_parameters

PRUNING = Configuration('pruning', proto.Pruning)


def pruning_options(message: proto.Pruning) -> PruningOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or contradicts another one.
    """
    structure = _structure(message)
    scope = require_supported(message, 'scope', ['TENSOR', 'GLOBAL'])
    if isinstance(structure, MOfN):
        _check_m_of_n(message, scope)
    target = require(message, 'target_sparsity', lambda v: 0 <= v < 1, '0 to below 1')
    begin = require(message, 'begin_step', lambda v: v >= 0, '0 or more')
    end = require(message, 'end_step', lambda v: v >= 0, '0 (three quarters of num_steps) or more')
    if end and end < begin:
        raise EdgeError(f'Pruning.end_step is {end}; expected begin_step ({begin}) or more.')
    schedule = require_supported(message, 'schedule', ['POLYNOMIAL', 'CONSTANT'])
    criterion = require_supported(message, 'criterion', CRITERIA)
    if CRITERIA[criterion].needs_gradients and schedule == 'CONSTANT' and begin == 0:
        raise EdgeError(
            f'Pruning.criterion {criterion} with schedule CONSTANT has begin_step 0; expected 1 or more, since no '
            'gradient is known before the first step. Set begin_step, or use schedule POLYNOMIAL.'
        )
    return PruningOptions(
        target_sparsity=1.0 if isinstance(structure, MOfN) else target,
        initial_sparsity=require(
            message, 'initial_sparsity', lambda v: 0 <= v <= target, f'0 to target_sparsity ({target:g})'
        ),
        schedule=schedule,
        power=require(message, 'power', lambda v: 0 < v < float('inf'), 'a number above 0'),
        begin_step=begin,
        end_step=end,
        frequency=require(message, 'frequency', lambda v: v >= 0, '0 (automatic) or more'),
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
        scope=scope,
        structure=structure,
        criterion=criterion,
        policy=require_supported(message, 'policy', ['ALL', 'XNNPACK']),
        compensation=require_supported(message, 'compensation', ['FEW_EXAMPLES', 'ALWAYS', 'NEVER']),
    )


def check_parameters(properties: Mapping[str, Any], inputs: Collection[str]) -> None:
    """Refuses what the executor would refuse of the parameters alone; see `check_training_parameters`."""
    check_training_parameters(PRUNING, pruning_options, properties, inputs)


def _structure(message: proto.Pruning) -> Block | MOfN | None:
    kind = message.structure.WhichOneof('kind')
    if kind == 'block':
        block = message.structure.block
        return Block(
            height=require(block, 'height', lambda v: v >= 1, '1 or more'),
            width=require(block, 'width', lambda v: v >= 1, '1 or more'),
            pooling=require_supported(block, 'pooling', ['AVG', 'MAX']),
        )
    if kind == 'm_of_n':
        m_of_n: Any = message.structure.m_of_n
        m = require(m_of_n, 'm', lambda v: 0 < v < m_of_n.n, f'above 0 and below n ({m_of_n.n})')
        return MOfN(m, m_of_n.n)
    return None


def _check_m_of_n(message: proto.Pruning, scope: str) -> None:
    for field in ('target_sparsity', 'initial_sparsity'):
        if message.HasField(field):
            raise EdgeError(
                f'Pruning.{field} is set together with structure m_of_n, which says itself how many weights '
                'become zero; leave it unset.'
            )
    if scope == 'GLOBAL':
        raise EdgeError(
            'Pruning.scope GLOBAL is set together with structure m_of_n, whose groups are pruned each for '
            'itself; leave it unset.'
        )
