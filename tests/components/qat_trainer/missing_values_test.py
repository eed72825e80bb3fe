"""Quantization-aware training of a model that fills in missing values itself, which few examples have."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tfx_edge import proto
from tfx_edge.components import Pruner, QATTrainer
from tfx_edge.components.core.calibration.arithmetic import read_arithmetic
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model

pytestmark = pytest.mark.slow

_WIDTH = 4


class _Net(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(_WIDTH, 16)).astype(np.float32), name='first')
        self.last = tf.Variable(random.normal(size=(16, 3)).astype(np.float32), name='last')

    def _layers(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'score': tf.matmul(tf.nn.relu(tf.matmul(x, self.first)), self.last)}

    @tf.function(input_signature=[tf.TensorSpec((None, _WIDTH), tf.float32, name='x')])
    def imputing(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        filled = tf.where(tf.equal(x, x), x, tf.zeros_like(x) + 2.0)
        return self._layers(filled)

    @tf.function(input_signature=[tf.TensorSpec((None, _WIDTH), tf.float32, name='x')])
    def plain(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._layers(x)


def _artifact(type_: Any, uri: pathlib.Path) -> Any:
    artifact = type_()
    artifact.uri = str(uri)
    artifact.set_string_custom_property('tfx_version', '1.16.0')
    return artifact


@pytest.fixture(scope='module')
def rows() -> np.ndarray:
    """One in fifty lacks a value: most batches have none."""
    rows = np.random.default_rng(1).normal(size=(600, _WIDTH)).astype(np.float32)
    rows[::50, 1] = np.nan
    return rows


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> dict[str, Any]:
    root, net = tmp_path_factory.mktemp('missing'), _Net()
    made = {'root': root, 'examples': _artifact(standard_artifacts.Examples, root / 'examples')}
    made['examples'].split_names = artifact_utils.encode_split_names(['train'])
    (root / 'examples' / 'Split-train').mkdir(parents=True)
    with tf.io.TFRecordWriter(str(root / 'examples' / 'Split-train' / 'data')) as writer:
        for row in rows:
            example = tf.train.Example()
            example.features.feature['x'].float_list.value.extend(row)
            writer.write(example.SerializeToString())
    for name in ('imputing', 'plain'):
        made[name] = _artifact(standard_artifacts.Model, root / name)
        folder = path_utils.serving_model_dir(made[name].uri)
        tf.saved_model.save(net, folder, signatures={'serving_default': getattr(net, name)})
    return made


def _run(component: Any, world: dict[str, Any], model: str) -> dict[str, Any]:
    folder = world['root'] / f'{component.__name__}_{model}'
    made = component(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        fine_tuning=proto.FineTuning(num_steps=20, batch_size=16),
    )
    outputs = {key: [_artifact(channel.type, folder / key)] for key, channel in made.outputs.items()}
    context = base_executor.BaseExecutor.Context(tmp_dir=str(folder), unique_id='1')
    inputs = {'input_model': [world[model]], 'examples': [world['examples']]}
    made.executor_spec.executor_class(context).Do(inputs, outputs, dict(made.exec_properties))
    return {key: found for key, (found,) in outputs.items()}


def test_what_the_model_fills_in_stays_float_and_right(world: dict[str, Any], rows: np.ndarray) -> None:
    outputs = _run(QATTrainer, world, 'imputing')
    folder = pathlib.Path(outputs['calibration'].uri)
    ranges = json.loads((folder / 'calibration.json').read_text())['tensors']
    limits = {name: (each['min'], each['max']) for name, each in ranges.items()}
    trained = read_arithmetic(str(folder))
    assert trained is not None
    kept = trained.kept_float
    saved = path_utils.serving_model_dir(outputs['model'].uri)
    file = quantize_model(
        convert_saved_model(saved, 'serving_default'),
        QuantizationOptions('INT8', keep_float=tuple(kept), engine='LITERT'),
        limits,
    )
    lacking = rows[::50]
    ours = LiteRTModel(file)({'x': lacking})['score']
    theirs = tf.saved_model.load(saved).signatures['serving_default'](x=tf.constant(lacking))['score'].numpy()
    error = np.mean(np.square(ours - theirs)) / np.var(theirs)
    assert error < 0.01, kept


@pytest.mark.parametrize('component', [Pruner, QATTrainer])
def test_a_model_that_does_not_names_the_feature_and_the_record(
    world: dict[str, Any], component: Any
) -> None:
    match = r"record 0 of .*Split-train/data: feature 'x' holds NaN, and .*where\(isnan\(x\), 0, x\)"
    with pytest.raises(EdgeError, match=match):
        _run(component, world, 'plain')
