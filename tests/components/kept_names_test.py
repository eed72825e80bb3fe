"""Each component on a transform graph that keeps names: raw examples go through it, transformed ones do not."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tests.components import executed
from tests.components.kept_names import make_graph, record
from tfx_edge import proto
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.components.core.errors import EdgeError

pytestmark = pytest.mark.slow

_AGES = np.arange(20, 80, dtype=np.float32)


class _Net(tf.Module):
    """Gives the age back."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tf.Variable(tf.linspace([0.5], [1.5], 8, axis=1), name='first')
        self.last = tf.Variable(tf.fill([8, 1], 0.125), name='last')

    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name='age')])
    def predict(self, age: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'score': tf.matmul(tf.nn.relu(tf.matmul(age, self.first)), self.last)}


class _World:
    """Artifacts, and a way to run a component on them."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.graph = executed.artifact(standard_artifacts.TransformGraph, make_graph(root))
        raw = [record(age=[float(age)], income=[float(age) / 20]) for age in _AGES]
        transformed = [
            record(age=[float(age) / 10], income=None, income_xf=[float(age) / 10], kind=[1]) for age in _AGES
        ]
        self.raw = self.examples('CsvExampleGen/examples/1', raw, 'FORMAT_TF_EXAMPLE')
        self.transformed = self.examples('Transform/transformed_examples/3', transformed)
        self.unknown = self.examples('mine', raw)
        self.model = executed.artifact(standard_artifacts.Model, root / 'trained')
        net = _Net()
        folder = path_utils.serving_model_dir(self.model.uri)
        tf.saved_model.save(net, folder, signatures={'serving_default': net.predict})
        self._runs = 0

    def examples(self, uri: str, records: list[bytes], payload: str = '') -> Any:
        made = executed.examples(self.root / uri, records)
        if payload:
            examples_utils.set_payload_format(made, example_gen_pb2.PayloadFormat.Value(payload))
        return made

    def schema(self, uri: str) -> Any:
        artifact = executed.artifact(standard_artifacts.Schema, self.root / uri)
        pathlib.Path(artifact.uri).mkdir(parents=True)
        (pathlib.Path(artifact.uri) / 'schema.pbtxt').write_text('feature { name: "age" type: FLOAT }')
        return artifact

    def run(
        self, component: Any, model: Any, examples: Any, schema: Any = None, **config: Any
    ) -> dict[str, Any]:
        self._runs += 1
        inputs = {'model': model, 'examples': examples, 'transform_graph': self.graph}
        inputs |= {} if schema is None else {'schema': schema}
        return executed.execute(component, self.root / f'run{self._runs}', inputs, **config)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> _World:
    return _World(tmp_path_factory.mktemp('world'))


def _range_of_age(outputs: dict[str, Any]) -> tuple[float, float]:
    text = (pathlib.Path(outputs['calibration'].uri) / 'calibration.json').read_text()
    (limits,) = (limits for name, limits in json.loads(text)['tensors'].items() if 'age' in name)
    return limits['min'], limits['max']


@pytest.mark.parametrize('component', [Pruner, Clusterer, QATTrainer])
@pytest.mark.parametrize('examples', ['raw', 'transformed'])
def test_training_sees_each_example_transformed_once(world: _World, component: Any, examples: str) -> None:
    tuning = proto.FineTuning(num_steps=2, batch_size=16)
    # Its loss fails on other ages.
    module = 'tests.components.kept_names'
    world.run(component, world.model, getattr(world, examples), fine_tuning=tuning, module_path=module)


@pytest.mark.parametrize('examples', ['raw', 'transformed'])
def test_calibration_sees_each_example_transformed_once(
    world: _World, examples: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outputs = world.run(TFLiteQuantizer, world.model, getattr(world, examples))
    assert _range_of_age(outputs) == pytest.approx((2.0, 7.9))
    applied = (
        'raw, the transform graph is applied' if examples == 'raw' else 'is not applied: Transform wrote'
    )
    assert applied in caplog.text


def test_evaluation_sees_each_example_transformed_once(world: _World) -> None:
    file = world.run(
        TFLiteQuantizer, world.model, world.raw, quantization=proto.Quantization(mode='FLOAT32')
    )['model']
    metric = tfma.MetricConfig(class_name='MeanAbsoluteError')
    metric.threshold.value_threshold.upper_bound.value = 1e-5
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='income_xf')],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric])],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=['kind'])],
    )
    for examples in (world.raw, world.transformed):
        outputs = world.run(EdgeEvaluator, file, examples, eval_config=config)
        report = json.loads((pathlib.Path(outputs['edge_evaluation'].uri) / 'report.json').read_text())
        errors = {str(e['slice']): e['metrics'][0]['value'] for e in report['metrics']}
        # The label and the slice are what the graph makes, under a name of its own and under a kept one.
        assert errors == {'[]': pytest.approx(0, abs=1e-5), "[['kind', 1]]": pytest.approx(0, abs=1e-5)}


def test_examples_of_an_unknown_step_are_asked_about_and_the_property_answers(world: _World) -> None:
    with pytest.raises(EdgeError, match=r"examples .*mine are raw or transformed.*'tfx_edge_examples'"):
        world.run(TFLiteQuantizer, world.model, world.unknown)
    world.unknown.set_string_custom_property('tfx_edge_examples', 'raw')
    assert _range_of_age(world.run(TFLiteQuantizer, world.model, world.unknown)) == pytest.approx((2.0, 7.9))


def test_transform_s_own_schema_shows_of_examples_of_an_unknown_step(world: _World) -> None:
    copied = world.examples('copied', [record(age=[float(age) / 10]) for age in _AGES])
    schema = world.schema('Transform/post_transform_schema/3')
    outputs = world.run(TFLiteQuantizer, world.model, copied, schema)
    assert _range_of_age(outputs) == pytest.approx((2.0, 7.9))


def test_raw_and_transformed_examples_together_are_refused(world: _World) -> None:
    with pytest.raises(EdgeError, match=r'some examples are raw and others transformed \(.*give one of both'):
        world.run(TFLiteQuantizer, world.model, [world.raw, world.transformed])


def test_raw_examples_without_the_label_are_calibrated_on(world: _World) -> None:
    bare = world.examples('bare', [record(age=[float(a)], kind=None) for a in _AGES], 'FORMAT_TF_EXAMPLE')
    assert _range_of_age(world.run(TFLiteQuantizer, world.model, bare)) == pytest.approx((2.0, 7.9))
