"""Which weights are taken for kernels of fully connected layers: those that the file gives one scale."""

from __future__ import annotations

import pytest

from tests.golden import files
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.dense_sites import with_dense_scales
from tfx_edge.components.core.compression.weights.deployed_kernels import match_kernels
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.dense_scales import PER_CHANNEL, PER_TENSOR
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantized_activations import quantized_activations
from tfx_edge.components.core.qat.deployed_constants import quantized_constants


@pytest.mark.parametrize('net', ['digits', 'many_links', 'masked'])
@pytest.mark.parametrize('dense_scales', [PER_CHANNEL, PER_TENSOR])
def test_weights_have_the_scales_of_the_file(net: str, dense_scales: str) -> None:
    folder, file = str(files.saved_model(net)), ModelFile(files.float_model(net))
    graph = ServingGraph(folder, choose_signature(folder))
    options = QuantizationOptions(engine=LITERT, dense_scales=dense_scales)
    constants = quantized_constants(file, quantized_activations(file), options)
    sites = find_weight_sites(graph)
    kernels = match_kernels(graph, sites, constants)
    assert kernels.keys() == {site.variable.key for site in sites}
    for site in with_dense_scales(sites, dense_scales):
        assert kernels[site.variable.key].site.one_scale == site.one_scale, site.variable.name
    dense = [kernels[site.variable.key].site for site in sites if site.fully_connected]
    assert dense
    assert {len(site.scale_axes) for site in dense} == {1 if dense_scales == PER_CHANNEL else 0}
