"""A kernel of the file is recognized by its values, however the converter laid it out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.weights.deployed_kernels import DeployedConstant, match_kernels
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import open_graph

_LAYOUTS = {'Conv2D': (3, 0, 1, 2), 'Conv2DBackpropInput': (2, 0, 1, 3), 'MatMul': (1, 0)}


def _constant(name: str, values: np.ndarray, axis: int | None) -> DeployedConstant:
    return DeployedConstant(name, values, 8, axis, True, 'CONV_2D', (name,))


def test_axes_of_scales_are_found_in_each_layout(many_kernels: str) -> None:
    graph = open_graph(many_kernels)
    sites = find_weight_sites(graph)
    constants = [
        _constant(site.variable.name, site.variable.value.transpose(_LAYOUTS[site.op]), 0) for site in sites
    ]
    found = match_kernels(graph, sites, constants)
    assert {kernel.site.variable.name: kernel.constant.name for kernel in found.values()} == {
        site.variable.name: site.variable.name for site in sites
    }
    for site in sites:
        expected = (1,) if site.op == 'MatMul' else (2,) if 'Backprop' in site.op else (3,)
        assert found[site.variable.key].site.channel_axes == expected


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(4)), st.integers(0, 2), st.booleans())
def test_joined_axes_are_found_wherever_they_stand(
    many_kernels: str, order: list[int], joined: int, whole: bool
) -> None:
    graph = open_graph(many_kernels)
    (site,) = (site for site in find_weight_sites(graph) if site.variable.name == 'transposed')
    moved = site.variable.value.transpose(order)
    shape = (*moved.shape[:joined], math.prod(moved.shape[joined : joined + 2]), *moved.shape[joined + 2 :])
    constant = _constant('joined', moved.reshape(shape), None if whole else joined)
    (found,) = match_kernels(graph, [site], [constant]).values()
    assert found.site.channel_axes == (() if whole else tuple(sorted(order[joined : joined + 2])))


@pytest.mark.parametrize('factor', [2.0, -0.3])
def test_a_multiple_is_found_where_nothing_equal_is(many_kernels: str, factor: float) -> None:
    graph = open_graph(many_kernels)
    sites = [site for site in find_weight_sites(graph) if site.op == 'Conv2D']
    constants = [
        _constant(s.variable.name, s.variable.value.transpose(_LAYOUTS[s.op]) * np.float32(factor), 0)
        for s in sites
    ]
    found = match_kernels(graph, sites, constants)
    assert {k.site.variable.name: k.constant.name for k in found.values()} == {
        site.variable.name: site.variable.name for site in sites
    }


def test_other_values_or_an_affine_constant_match_nothing(many_kernels: str) -> None:
    graph = open_graph(many_kernels)
    sites = find_weight_sites(graph)
    moved = [
        _constant(site.variable.name, np.cbrt(site.variable.value.transpose(_LAYOUTS[site.op])), 0)
        for site in sites
    ]
    assert not match_kernels(graph, sites, moved)
    affine = [
        DeployedConstant(s.variable.name, s.variable.value, 8, None, False, 'GATHER', ('x',))
        for s in itertools.islice(sites, 2)
    ]
    assert not match_kernels(graph, sites, affine)
