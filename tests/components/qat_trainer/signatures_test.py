"""A signature as it is met in the wild: odd names, outputs beside the answer, half precision inside."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge import proto
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import train_quantization_aware
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.qat.deployment import Deployment, plan_deployment, trained_ranges
from tfx_edge.components.core.qat.parity import Parity, measure_parity
from tfx_edge.components.qat_trainer.options import qat_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

pytestmark = pytest.mark.slow

_NAMES = [b'cat', b'dog', b'owl', b'fox']


class _Odd(tf.Module):
    """Hidden in float16; three names for one answer, its class and the class's name, a key, and one number."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(0, 0.5, (16, 24)).astype(np.float32), name='first')
        self.bias = tf.Variable(random.normal(0, 0.5, 24).astype(np.float32), name='bias')
        self.second = tf.Variable(random.normal(0, 0.5, (24, 4)).astype(np.float32), name='second')
        self.names = tf.constant(_NAMES)

    def serve(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        both = tf.concat([inputs['sensor/x-1'], 2.0 * inputs['2nd']], 1)
        hidden = tf.matmul(tf.cast(both, tf.float16), tf.cast(self.first, tf.float16))
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, tf.cast(self.bias, tf.float16)))
        scores = tf.nn.softmax(tf.matmul(tf.cast(hidden, tf.float32), self.second))
        place = tf.argmax(scores, 1)
        return {
            'p': scores,
            'the same': scores,
            'class': place,
            'name': tf.gather(self.names, place),
            'key': inputs['key'],
            'sigma': tf.constant(100.0),
        }


def _inputs(count: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        'sensor/x-1': random.normal(size=(count, 8)).astype(np.float32),
        '2nd': random.normal(size=(count, 8)).astype(np.float32),
        'key': 1000 * np.arange(count)[:, np.newaxis],
    }


@pytest.fixture(scope='module')
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    module, folder = _Odd(), str(tmp_path_factory.mktemp('odd') / 'model')
    specs = {n: tf.TensorSpec((None, *v.shape[1:]), v.dtype, name=n) for n, v in _inputs(1, 0).items()}
    specs['sigma'] = tf.TensorSpec((None, 1), name='sigma')  # nothing uses it, and an output has its name
    signature = tf.function(module.serve).get_concrete_function(specs)
    tf.saved_model.save(module, folder, signatures={'serving_default': signature})
    return folder


@dataclasses.dataclass(frozen=True)
class _Trained:
    deployment: Deployment
    parity: Parity
    float_model: bytes
    file: bytes


@pytest.fixture(scope='module')
def trained(saved_model: str, tmp_path_factory: pytest.TempPathFactory) -> _Trained:
    graph = ServingGraph(saved_model, choose_signature(saved_model), in_float32=True)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        return (_inputs(64, seed) for seed in itertools.count(1))

    options = qat_options(proto.QuantizationAwareTraining())
    first = next(batches())
    deployment = plan_deployment(graph, options, first)
    fine_tuning = fine_tuning_options(proto.FineTuning(num_steps=10))
    result = train_quantization_aware(graph, options, fine_tuning, batches(), deployment.arithmetic)
    folder = str(tmp_path_factory.mktemp('trained') / 'model')
    write_with_values(saved_model, folder, result.values)
    float_model = convert_saved_model(folder, graph.signature)
    ranges = trained_ranges(deployment, result.ranges, float_model, [first])
    file = quantize_model(float_model, deployment.options, ranges)
    parity = measure_parity(graph, deployment, result, float_model, file, _inputs(200, 0))
    return _Trained(deployment, parity, float_model, file)


def test_what_is_trained_is_what_ships(trained: _Trained) -> None:
    assert not trained.deployment.fault
    assert not trained.deployment.not_simulated
    assert len(trained.deployment.arithmetic.kernels) == 2
    assert [output.name for output in trained.parity.outputs] == ['p', 'the same']
    assert trained.parity.within_2 == 1.0
    assert trained.parity.agreement == 1.0


def test_the_file_has_the_signature_and_its_answers(trained: _Trained, saved_model: str) -> None:
    signature = choose_signature(saved_model)
    file, floats = LiteRTModel(trained.file), LiteRTModel(trained.float_model)
    assert set(file.inputs) == set(signature.inputs)
    assert set(file.outputs) == set(signature.outputs)
    inputs = _inputs(21, 0)
    found, expected = file(inputs), floats(inputs)
    np.testing.assert_allclose(found['p'], expected['p'], atol=0.1)
    np.testing.assert_array_equal(found['the same'], found['p'])
    np.testing.assert_array_equal(found['class'], found['p'].argmax(1))
    assert found['name'].tolist() == [_NAMES[place] for place in found['class']]
    np.testing.assert_array_equal(found['key'], inputs['key'])
    np.testing.assert_array_equal(found['sigma'], np.full(21, 100.0))


def test_each_input_of_an_odd_name_has_its_own_place(saved_model: str) -> None:
    graph = ServingGraph(saved_model, choose_signature(saved_model))
    inputs = _inputs(4, 0)

    @tf.function(autograph=False)
    def call() -> list[tf.Tensor]:
        given = {name: tf.constant(values) for name, values in inputs.items()}
        return graph.call(given, {}, [graph.outputs['p'], graph.outputs['key']])

    module = tf.saved_model.load(saved_model)
    plain = {'sensor/x-1': 'sensor_x_1', '2nd': 'arg_2nd', 'key': 'key'}
    feeds = {plain[name]: tf.constant(values) for name, values in inputs.items()}
    expected = module.signatures['serving_default'](**feeds, sigma=tf.zeros((4, 1)))
    scores, key = call()
    np.testing.assert_allclose(scores, expected['p'], atol=5e-3)
    np.testing.assert_array_equal(key, inputs['key'])
