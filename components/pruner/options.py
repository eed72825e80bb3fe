"""`proto.Pruning` as the options of `core.compression.pruning`, each value checked."""

from __future__ import annotations

from tfx_edge import proto
from tfx_edge.components.core.compression.pruning import PruningOptions
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.exec_properties import require, require_patterns, require_supported, require_unset


def pruning_options(message: proto.Pruning) -> PruningOptions:
    """Checks a message and fills in its defaults.

    Raises:
      EdgeError: a value is out of range, or not supported by this version.
    """
    for field, supported in (('scope', 'TENSOR'), ('criterion', 'MAGNITUDE'), ('policy', 'ALL')):
        require_supported(message, field, [supported])
    require_unset(message, 'structure')
    target = require(message, 'target_sparsity', lambda v: 0 <= v < 1, '0 to below 1')
    begin = require(message, 'begin_step', lambda v: v >= 0, '0 or more')
    end = require(message, 'end_step', lambda v: v >= 0, '0 (three quarters of num_steps) or more')
    if end and end < begin:
        raise EdgeError(f'Pruning.end_step is {end}; expected begin_step ({begin}) or more.')
    return PruningOptions(
        target_sparsity=target,
        initial_sparsity=require(
            message, 'initial_sparsity', lambda v: 0 <= v <= target, f'0 to target_sparsity ({target:g})'
        ),
        schedule=require_supported(message, 'schedule', ['POLYNOMIAL', 'CONSTANT']),
        power=require(message, 'power', lambda v: 0 < v < float('inf'), 'a number above 0'),
        begin_step=begin,
        end_step=end,
        frequency=require(message, 'frequency', lambda v: v >= 0, '0 (automatic) or more'),
        include=require_patterns(message, 'include'),
        exclude=require_patterns(message, 'exclude'),
    )
