"""Outputs whose values are of very different size: each counts in training, and no made-up range is warned of."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training import losses
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.minimum_ranges import widened
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantized_activations import quantized_activations
from tfx_edge.components.core.qat.deployed_constants import quantized_constants

from .course import Course

pytestmark = pytest.mark.slow


class _Heads(tf.Module):
    """The class beside a price in dollars, one in millions of cents, and a share that hardly differs from zero."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.body = tf.Variable(random.normal(size=(6, 16)).astype(np.float32), name='body')
        self.heads = {
            name: tf.Variable((random.normal(size=(16, width)) * size).astype(np.float32), name=name)
            for name, width, size in (
                ('kind', 3, 0.5),
                ('price', 1, 9e4),
                ('cents', 2, 3e7),
                ('share', 1, 1e-6),
            )
        }

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name='x')])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        h = tf.nn.relu(x @ self.body)
        found = {name: h @ kernel for name, kernel in self.heads.items()}
        return {**found, 'kind': tf.nn.softmax(found['kind']), 'price': found['price'] + 2.5e5}


@pytest.fixture(scope='module')
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    module, folder = _Heads(), str(tmp_path_factory.mktemp('heads') / 'model')
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    return folder


@pytest.fixture(scope='module')
def features() -> dict[str, np.ndarray]:
    return {'x': np.random.default_rng(1).normal(size=(512, 6)).astype(np.float32)}


def test_a_large_head_counts_in_units_of_its_variance(
    saved_model: str, features: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    graph = Course(saved_model, features, tmp_path).open()
    targets = {t.name: t for t in losses.output_targets(graph, 'AUTO', {'x': features['x'][:64]})}
    assert targets['kind'].comparison == losses.SOFTMAX
    assert targets['share'].variance == 1

    @tf.function(autograph=False)
    def large() -> list[tf.Tensor]:
        fetch = [targets[name].tensor for name in ('price', 'cents')]
        return graph.call({'x': tf.constant(features['x'])}, {}, fetch)

    for name, teacher in zip(('price', 'cents'), large(), strict=True):
        off_by_one_tenth = teacher + 0.1 * tf.math.reduce_std(teacher, 0)
        assert float(losses.distillation(targets[name], teacher, off_by_one_tenth, 1.0)) == pytest.approx(
            0.01, rel=0.9
        )


def test_an_output_alone_counts_as_it_is(
    saved_model: str, features: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    module = tf.Module()
    module.weight = tf.Variable(np.full((6, 1), 1e4, np.float32))
    serve = tf.function(
        lambda x: {'y': x @ module.weight}, input_signature=[tf.TensorSpec((None, 6), name='x')]
    )
    tf.saved_model.save(module, str(tmp_path / 'alone'), signatures={'serving_default': serve})
    graph = Course(str(tmp_path / 'alone'), features, tmp_path).open()
    (target,) = losses.output_targets(graph, 'AUTO', {'x': features['x'][:64]})
    assert (target.comparison, target.variance) == (losses.SQUARED, 1.0)


def test_planning_warns_of_no_range_that_it_made_up(
    saved_model: str, features: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    """Kernels of 9e4 and 3e7 need wider ranges than any made up for all."""
    model = ModelFile.of(convert_saved_model(saved_model, 'serving_default'))
    for mode in ('INT8', 'INT16X8'):
        with caplog.at_level(logging.WARNING, logger='tfx_edge'):
            activations = quantized_activations(model, mode=mode)
            constants = quantized_constants(model, activations, QuantizationOptions(mode, engine=LITERT))
        assert not caplog.messages
        kernels = {c.operator for c in constants if c.values.ndim == 2}
        assert kernels == {'FULLY_CONNECTED'}
        assert len([c for c in constants if c.values.ndim == 2]) == 5
    dead = {tensor.group: (0.0, 0.0) for tensor in activations}
    with caplog.at_level(logging.WARNING, logger='tfx_edge'):
        widened(flatbuffer.read(model.data), activations, dead, 'INT8')
    (warning,) = caplog.messages
    assert 'stay at zero' in warning
