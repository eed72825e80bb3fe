"""`proto.Clustering`: defaults, and values that are refused with one clear line."""

from __future__ import annotations

import pytest

from tfx_edge import proto
from tfx_edge.components.clusterer.options import clustering_options
from tfx_edge.components.core.errors import EdgeError


def test_defaults_are_those_of_the_contract() -> None:
    options = clustering_options(proto.Clustering())
    assert (options.number_of_clusters, options.granularity) == (16, 'DEPLOYED')
    assert (options.initialization, options.preserve_sparsity) == ('KMEANS_PLUS_PLUS', True)


@pytest.mark.parametrize('initialization', ['KMEANS_PLUS_PLUS', 'LINEAR', 'DENSITY'])
@pytest.mark.parametrize('granularity', ['DEPLOYED', 'TENSOR', 'CHANNEL'])
def test_every_granularity_and_initialization_is_taken(granularity: str, initialization: str) -> None:
    options = clustering_options(proto.Clustering(granularity=granularity, initialization=initialization))
    assert (options.granularity, options.initialization) == (granularity, initialization)


def test_scales_of_dense_kernels_are_taken_where_the_file_decides_the_clusters() -> None:
    assert clustering_options(proto.Clustering()).dense_scales == 'PER_CHANNEL'
    assert clustering_options(proto.Clustering(dense_scales='PER_TENSOR')).dense_scales == 'PER_TENSOR'
    with pytest.raises(
        EdgeError, match='dense_scales PER_TENSOR has a meaning with granularity DEPLOYED only'
    ):
        clustering_options(proto.Clustering(dense_scales='PER_TENSOR', granularity='TENSOR'))


@pytest.mark.parametrize(('granularity', 'fewest'), [('DEPLOYED', 3), ('TENSOR', 2), ('CHANNEL', 2)])
def test_too_few_and_too_many_clusters_are_refused_with_the_range(granularity: str, fewest: int) -> None:
    clustering_options(proto.Clustering(granularity=granularity, number_of_clusters=fewest))
    for number in (fewest - 1, 65):
        with pytest.raises(EdgeError, match=f'number_of_clusters is {number}; expected {fewest} to 64'):
            clustering_options(proto.Clustering(granularity=granularity, number_of_clusters=number))
