"""What is trained is what ships, whatever the net is made of: the simulation's outputs against the file's."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tfx_edge import proto
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.quantization_aware_training import train_quantization_aware
from tfx_edge.components.core.compression.training.one_pass_adam import OnePassAdam
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.qat.deployment import Deployment, plan_deployment, trained_ranges
from tfx_edge.components.core.qat.local_parity import broken_activations
from tfx_edge.components.core.qat.parity import Parity, TensorParity, measure_parity
from tfx_edge.components.qat_trainer.options import qat_options
from tfx_edge.components.training.fine_tuning_options import fine_tuning_options

from . import nets

pytestmark = pytest.mark.slow

_TRAINED = 1000
_STEPS = 30
# What litert-quantizer leaves float: leaky relu, a sign in layer norm, and upsampling's and pooling's own operators.
_FLOAT_OPERATORS = {'LEAKY_RELU', 'NEG', 'EXPAND_DIMS', 'REDUCE_MAX', 'TILE'}


@dataclasses.dataclass(frozen=True)
class _Measured:
    parity: Parity
    deployment: Deployment
    file: bytes
    accuracy: dict[str, float]
    broken: dict[str, float]


@pytest.fixture(scope='module')
def samples(digits: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All digits and their classes; the first _TRAINED are trained on."""
    images = np.concatenate([digits['x_train'], digits['x_eval']])
    return images, np.concatenate([digits['y_train'], digits['y_eval']])


def _inputs(names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    every = {'image': images, 'mirrored': images[:, :, ::-1]}
    return {name: np.ascontiguousarray(every[name]) for name in names}


def _saved_model(
    make: Callable[[], Any], samples: tuple[np.ndarray, np.ndarray], epochs: int, folder: pathlib.Path
) -> str:
    import keras

    images, classes = (values[:_TRAINED] for values in samples)
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = make()
    loss = {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in model.output}
    # To compile with XLA, or to trace the operations of Keras' own Adam, would take longer than the training takes.
    model.compile(OnePassAdam(5e-3), loss, jit_compile=False)
    inputs = _inputs(list(model.input), images)
    model.fit(inputs, dict.fromkeys(loss, classes), batch_size=64, epochs=epochs, verbose=0)
    model.export(folder, verbose=False)
    return str(folder)


def _measure(saved_model: str, samples: tuple[np.ndarray, np.ndarray], folder: pathlib.Path) -> _Measured:
    graph = ServingGraph(saved_model, choose_signature(saved_model))
    images, classes = samples

    def batches() -> Iterator[dict[str, np.ndarray]]:
        random = np.random.default_rng(0)
        while True:
            yield _inputs(list(graph.inputs), images[random.permutation(_TRAINED)[:64]])

    options = qat_options(proto.QuantizationAwareTraining())
    fine_tuning = fine_tuning_options(proto.FineTuning(num_steps=_STEPS, output_kind='LOGITS'))
    stream = batches()
    first = next(stream)
    deployment = plan_deployment(graph, options, first)
    stream = itertools.chain([first], stream)
    result = train_quantization_aware(graph, options, fine_tuning, stream, deployment.arithmetic)
    write_with_values(saved_model, str(folder / 'trained'), result.values)
    float_model = convert_saved_model(str(folder / 'trained'), graph.signature.name)
    ranges = trained_ranges(deployment, result.ranges, float_model, [first])
    file = quantize_model(float_model, deployment.options, ranges)
    rest = _inputs(list(graph.inputs), images[_TRAINED:])
    parity = measure_parity(
        graph, deployment, result, float_model, file, rest, output_kind='LOGITS', per_activation=True
    )
    outputs = LiteRTModel(file)(rest)
    accuracy = {n: float(np.mean(v.argmax(1) == classes[_TRAINED:])) for n, v in outputs.items()}
    few = {name: values[:8] for name, values in rest.items()}
    broken = broken_activations(
        graph, deployment.arithmetic, result.values, result.ranges, float_model, file, few
    )
    return _Measured(parity, deployment, file, accuracy, broken)


@pytest.fixture(scope='module')
def many(samples: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> _Measured:
    folder = tmp_path_factory.mktemp('many_nets')
    return _measure(_saved_model(nets.many_nets, samples, 8, folder / 'model'), samples, folder)


@pytest.mark.parametrize('name', [*nets.NETS, 'two_inputs', 'two_outputs'])
def test_simulation_and_file_agree(many: _Measured, name: str) -> None:
    (output,) = (output for output in many.parity.outputs if output.name == name)
    assert output.integer
    assert output.within_2 >= 0.999
    assert output.agreement is not None
    assert output.agreement >= 0.995
    assert many.accuracy[name] > 0.8


def test_activations_inside_agree_too(many: _Measured) -> None:
    """From the inputs of the net, so that what differs adds up over the layers."""
    compared: tuple[TensorParity, ...] = many.parity.activations
    assert len(compared) >= 90
    # Processors train another net each; in one of them the last of 25 layers in a row is a step further off.
    assert sum(activation.within_2 < 0.998 for activation in compared) <= 1
    for activation in compared:
        assert activation.within_2 >= 0.99, activation


def test_each_activation_agrees_with_the_file_on_the_values_before_it(many: _Measured) -> None:
    """Step by step, so that no error hides behind a layer that averages it away."""
    assert many.broken == {}


def test_everything_integer_in_the_file_is_simulated(many: _Measured) -> None:
    assert not many.deployment.not_simulated
    assert not many.deployment.float_weights
    summary = inspect_model(many.file)
    assert {operator.name for operator in summary.float_ops} <= _FLOAT_OPERATORS
    assert len(many.deployment.arithmetic.kernels) == len(
        [k for k in summary.tensors if k.scales > 1 and k.dtype == 'int8']
    )
