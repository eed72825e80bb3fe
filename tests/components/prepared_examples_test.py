"""A Trainer whose signature decodes images itself: each component takes its raw examples as they are."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tests.components import executed
from tfx_edge import proto
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

_FEATURES = {'png': tf.io.FixedLenFeature([], tf.string)}
_TUNING = proto.FineTuning(num_steps=60, batch_size=16, learning_rate=1e-2)


class _Net(tf.Module):
    """Distinguishes bright images from dark ones."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.hidden = tf.Variable(
            np.abs(random.normal(1 / 16, 0.01, (16, 8))).astype(np.float32), name='hidden'
        )
        self.last = tf.Variable(np.tile(np.float32([[-1, 1]]), (8, 1)), name='last')
        self.bias = tf.Variable([4.0, -4.0], name='bias')

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = tf.io.parse_example(examples, _FEATURES)['png']
        pixels = tf.map_fn(
            lambda data: tf.reshape(tf.io.decode_png(data, channels=1), (4, 4, 1)),
            encoded,
            fn_output_signature=tf.uint8,
        )
        flat = tf.reshape(tf.cast(pixels, tf.float32) / 255.0, (-1, 16))
        hidden = tf.nn.relu(tf.matmul(flat, self.hidden))
        return {'p': tf.nn.softmax(tf.nn.bias_add(tf.matmul(hidden, self.last), self.bias))}


def _records() -> list[bytes]:
    random = np.random.default_rng(1)
    records = []
    for label in [0, 1] * 60:
        pixels = random.integers(100 * label, 156 + 100 * label, (4, 4, 1)).astype(np.uint8)
        example = tf.train.Example()
        example.features.feature['png'].bytes_list.value.append(tf.io.encode_png(pixels).numpy())
        example.features.feature['label'].int64_list.value.append(label)
        records.append(example.SerializeToString())
    return records


def _report(outputs: dict[str, Any]) -> dict[str, Any]:
    return json.loads((pathlib.Path(outputs['edge_evaluation'].uri) / 'report.json').read_text())


def test_encoded_images_are_trained_on_calibrated_and_evaluated(tmp_path: pathlib.Path) -> None:
    net, records = _Net(), _records()
    examples = executed.examples(tmp_path / 'examples', records)
    trained = executed.artifact(standard_artifacts.Model, tmp_path / 'trained')
    folder = path_utils.serving_model_dir(trained.uri)
    tf.saved_model.save(net, folder, signatures={'serving_default': net.serve})

    model, made = trained, {}
    for component in (Pruner, Clusterer, QATTrainer):
        inputs = {'model': model, 'examples': examples}
        made = executed.execute(component, tmp_path / component.__name__, inputs, fine_tuning=_TUNING)
        model = made['model']
    calibrated = executed.execute(
        TFLiteQuantizer, tmp_path / 'int8', {'model': trained, 'examples': examples}
    )
    shipped = executed.execute(
        TFLiteQuantizer, tmp_path / 'shipped', {'model': model, 'calibration': made['calibration']}
    )
    metric = tfma.MetricConfig(class_name='SparseCategoricalAccuracy')
    metric.threshold.value_threshold.lower_bound.value = 0.9
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key='label')],
        metrics_specs=[tfma.MetricsSpec(metrics=[metric])],
        slicing_specs=[tfma.SlicingSpec()],
    )
    answers = net.serve(tf.constant(records))['p'].numpy().argmax(1)
    accuracy = np.mean(answers == [0, 1] * 60)
    assert accuracy > 0.95
    for name, file in (('of calibration', calibrated), ('of training', shipped)):
        content = (pathlib.Path(path_utils.serving_model_dir(file['model'].uri)) / 'tflite').read_bytes()
        ((_, detail),) = LiteRTModel(content).inputs.items()
        assert detail.shape[1:] == (4, 4, 1)
        inputs = {'model': file['model'], 'examples': examples, 'baseline_model': trained}
        report = _report(executed.execute(EdgeEvaluator, tmp_path / name, inputs, eval_config=config))
        assert any('answers as signature' in note for note in report['notes'])
        (overall,) = report['metrics']
        found = {entry['model']: entry['value'] for entry in overall['metrics'] if not entry['difference']}
        assert found['baseline'] == pytest.approx(accuracy, abs=1e-6)
        assert found['candidate'] > 0.9
