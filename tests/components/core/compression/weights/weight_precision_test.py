"""Bits of weights: the first override that matches, `weight_bits` otherwise, float for what is left out."""

from __future__ import annotations

import dataclasses

import pytest

from tfx_edge.components.core.compression.weights.weight_precision import weight_precisions
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from ..conftest import open_graph


@dataclasses.dataclass(frozen=True)
class _Wanted:
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weight_bits: int = 8
    overrides: tuple[tuple[str, int], ...] = ()


def _bits(folder: str, wanted: _Wanted) -> dict[str, int]:
    sites = find_weight_sites(open_graph(folder))
    precisions = weight_precisions(sites, wanted)
    return {site.variable.name: precisions[site.variable.key] for site in sites}


def test_the_first_match_counts(many_kernels: str) -> None:
    found = _bits(many_kernels, _Wanted(exclude=('grouped',), overrides=(('^first$', 0), ('i', 4))))
    assert found == {'first': 0, 'pointwise': 4, 'strided': 4, 'grouped': 0, 'transposed': 8, 'matrix': 4}


def test_an_override_that_matches_nothing_is_refused(many_kernels: str) -> None:
    with pytest.raises(EdgeError, match="the override 'no_such' is found in the name of no weight"):
        _bits(many_kernels, _Wanted(overrides=(('no_such', 4),)))


def test_nothing_left_is_refused(many_kernels: str) -> None:
    with pytest.raises(EdgeError, match='leave no weight to quantize'):
        _bits(many_kernels, _Wanted(exclude=('.*',)))
