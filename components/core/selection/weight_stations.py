"""The way of the weights to the chosen candidate: candidates that have some of its steps, and their kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.components.core.selection.shown_values import finite

_Candidate = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kernel at a station.

    Attributes:
      counts: of its histogram.
      most: the height of the drawing in counts.
      share: of the drawing's width that the histogram takes; 1 where the kernel has the largest weights of its row.
      told: the share of zeros and the number of distinct values, in words; '' without a histogram.
    """

    counts: Sequence[int]
    most: float
    share: float
    told: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A kernel along the way.

    Attributes:
      name: of the tensor.
      limit: the largest magnitude, which is at both ends of each drawing.
      cells: at the baseline, then at each station; None where a station has no such kernel.
    """

    name: str
    limit: float
    cells: list[Cell | None]


def stations(candidates: Sequence[_Candidate], chosen: _Candidate) -> list[_Candidate]:
    """The longest chain of candidates to the chosen one in which each has the steps of the one before, and more.

    All end with the same step, such as 'int8': what is seen is what the other steps do. Candidates whose weights are
    not known are no stations.

    Args:
      candidates: rows of a `SelectionReport`.
      chosen: one of them.

    Returns:
      The chain, fewest steps first. Of chains of the same length, that of the first candidates.

    Example:
      >>> rows = [{'steps': steps.split(), 'weights': ['kernel']} for steps in ('int8', 'qat', 'zeros50 qat int8')]
      >>> [row['steps'] for row in stations(rows, rows[2])]
      [['int8'], ['zeros50', 'qat', 'int8']]
    """
    possible = [row for row in candidates if row['weights'] and _leads_to(row['steps'], chosen['steps'])]
    chains: list[list[_Candidate]] = []
    for row in [*sorted(possible, key=lambda row: len(row['steps'])), chosen]:
        before = [chain for chain in chains if _leads_to(chain[-1]['steps'], row['steps'])]
        chains.append([*max(before, key=len, default=[]), row])
    return chains[-1]


def _leads_to(steps: Sequence[str], longer: Sequence[str]) -> bool:
    """Whether steps are some of the longer ones in the same order, with the same last one."""
    if not steps or len(steps) >= len(longer) or steps[-1] != longer[-1]:
        return False
    left = iter(longer)
    return all(step in left for step in steps)


def kernel_rows(chain: Sequence[_Candidate]) -> list[Row]:
    """The kernels of the chosen candidate, at the baseline and at each station.

    Args:
      chain: of `stations`.

    Returns:
      A row for each of its kernels. The drawings of a row have one axis: the histograms of stations may have others.
    """
    by_name = [{kernel['name']: kernel for kernel in row['weights']} for row in chain]
    return [
        _row(kernel, [kernels.get(kernel['name']) for kernels in by_name]) for kernel in chain[-1]['weights']
    ]


def _row(chosen: Mapping[str, Any], kernels: Sequence[Mapping[str, Any] | None]) -> Row:
    limit = max(finite(kernel['limit']) or 0.0 for kernel in kernels if kernel)
    told_before = _told(chosen['before'], chosen['zeros_before'], chosen['distinct_before'])
    histograms = [(chosen['before'], _share(chosen, limit), told_before)]
    histograms += [
        (
            kernel['after'],
            _share(kernel, limit),
            _told(kernel['after'], kernel['zeros'], kernel['distinct']),
        )
        if kernel
        else ([], 1.0, '')
        for kernel in kernels
    ]
    # A bar stands for the weights per width of the axis: bars of a narrower histogram are narrower.
    most = max((max(counts, default=0) / share for counts, share, _ in histograms), default=0.0)
    return Row(
        name=chosen['name'],
        limit=limit,
        cells=[
            Cell(counts, most * share, share, told) if counts else None for counts, share, told in histograms
        ],
    )


def _share(kernel: Mapping[str, Any], limit: float) -> float:
    own = finite(kernel['limit']) or 0.0
    share = own / limit if limit > 0 else 0.0
    # A histogram that would be too narrow to be seen, or has no axis, takes all of the width.
    return share if share > 0.001 else 1.0


def _told(counts: Sequence[int], zeros: int, distinct: int) -> str:
    total = sum(counts)
    share = f'{100 * zeros / total:.3g} % zeros, ' if total else ''
    return f'{share}{distinct:,} value{"" if distinct == 1 else "s"}'
