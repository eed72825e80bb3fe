"""The inlined graph computes what the signature computes, and finds its weights."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.constraints.constrained_model import folded_kernels
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.weights.weight_selection import select_weight_sites
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.errors import EdgeError

from ..conftest import open_graph


def test_the_graph_with_replaced_variables_gives_the_signature_s_outputs(
    saved_model: str, digits: dict[str, np.ndarray]
) -> None:
    graph = open_graph(saved_model)
    images = tf.constant(digits['x_eval'][:8])
    (name,) = graph.inputs

    @tf.function(autograph=False)
    def replaced() -> list[tf.Tensor]:
        values = {key: tf.constant(value) for key, value in graph.stored_values().items()}
        return graph.call({name: images}, values, list(graph.outputs.values()))

    expected = tf.saved_model.load(saved_model).signatures[graph.signature.name](**{name: images})
    np.testing.assert_allclose(replaced()[0], next(iter(expected.values())), atol=1e-5)


def test_gradients_reach_replaced_variables(saved_model: str, digits: dict[str, np.ndarray]) -> None:
    graph = open_graph(saved_model)
    (name,) = graph.inputs

    @tf.function(autograph=False)
    def gradients() -> list[tf.Tensor]:
        values = {v.key: tf.constant(v.value) for v in graph.variables if v.trainable}
        outputs = graph.call({name: tf.constant(digits['x_eval'][:8])}, values, list(graph.outputs.values()))
        return tf.gradients(tf.reduce_sum(tf.square(outputs[0])), list(values.values()))

    for gradient in gradients():
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


def test_sites_of_keras_3_and_tf_keras_are_reported_with_their_folding(
    digits_saved_model: pathlib.Path, tf_keras_saved_model: pathlib.Path, module_saved_model: pathlib.Path
) -> None:
    def describe(folder: pathlib.Path) -> list[tuple[str, tuple[int, ...], int]]:
        return [(s.op, s.channel_axes, len(s.scales)) for s in find_weight_sites(open_graph(str(folder)))]

    assert describe(digits_saved_model) == [
        ('Conv2D', (3,), 1),
        ('DepthwiseConv2dNative', (2, 3), 1),
        ('Conv2D', (3,), 0),
        ('MatMul', (1,), 0),
        ('MatMul', (1,), 0),
    ]
    assert describe(tf_keras_saved_model) == [
        ('Conv2D', (3,), 1),
        ('DepthwiseConv2dNative', (2, 3), 1),
        ('MatMul', (1,), 1),
        ('MatMul', (1,), 0),
    ]
    assert describe(module_saved_model) == [('Conv2D', (3,), 1), ('MatMul', (1,), 0)]


@pytest.mark.slow
def test_folded_kernels_are_what_the_converter_writes(saved_model: str) -> None:
    from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
    from tfx_edge.components.core.litert.file import flatbuffer

    graph = open_graph(saved_model)
    content = flatbuffer.read(convert_saved_model(saved_model, graph.signature.name))
    tensors = (flatbuffer.constant(content, tensor) for tensor in content.subgraphs[0].tensors)
    constants = [tensor.ravel() for tensor in tensors if tensor is not None]
    for kernel in folded_kernels(graph, find_weight_sites(graph)).values():
        # The converter transposes kernels; their sorted values stay.
        written = [c for c in constants if c.size == kernel.size]
        errors = [np.abs(np.sort(c) - np.sort(kernel.ravel())).max() for c in written]
        assert min(errors) <= 1e-5 * np.abs(kernel).max()


def test_nan_in_the_weights_is_named(module_saved_model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    graph = open_graph(str(module_saved_model))
    kernel = next(v for v in graph.variables if v.name == 'kernel')
    broken = kernel.value.copy()
    broken[0, 0, 0, 0] = np.nan
    write_with_values(str(module_saved_model), str(tmp_path / 'nan'), {kernel.key: broken})
    with pytest.raises(EdgeError, match="variable 'kernel' holds 1 values that are NaN"):
        open_graph(str(tmp_path / 'nan'))


def test_patterns_select_by_variable_name(module_saved_model: pathlib.Path) -> None:
    sites = find_weight_sites(open_graph(str(module_saved_model)))
    assert [s.variable.name for s in select_weight_sites(sites, ['ker'], [], 'prune')] == ['kernel']
    assert [s.variable.name for s in select_weight_sites(sites, [], ['ker'], 'prune')] == ['matrix']
    with pytest.raises(EdgeError, match=r'leave no weight to prune \(found: kernel, matrix\)'):
        select_weight_sites(sites, ['absent'], [], 'prune')


def test_a_model_without_weights_is_refused(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.double = tf.function(lambda x: {'y': 2 * x}, input_signature=[tf.TensorSpec((None, 3), name='x')])
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.double})
    with pytest.raises(EdgeError, match='the model has no weight to prune'):
        select_weight_sites(find_weight_sites(open_graph(str(tmp_path))), [], [], 'prune')
