"""What to prune, without what prunes, which imports TensorFlow."""

from __future__ import annotations

import dataclasses

from tfx_edge.components.core.compression.constraints.sparsity_structure import Block, MOfN


@dataclasses.dataclass(frozen=True)
class PruningOptions:
    """What to prune; the fields of `proto.Pruning`, with its defaults filled in.

    With the structure MOfN, `target_sparsity` is 1: the share of its m zeros that each group has at the end.
    """

    target_sparsity: float
    initial_sparsity: float
    schedule: str
    power: float
    begin_step: int
    end_step: int
    frequency: int
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    scope: str = 'TENSOR'
    structure: Block | MOfN | None = None
    criterion: str = 'MAGNITUDE'
    policy: str = 'ALL'
    compensation: str = 'FEW_EXAMPLES'
