"""Recurrent layers of Keras 3 become files without unroll, which answer as the model does; what cannot is named."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.activation_reader import ActivationReader
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.loop_operators import has_loops
from tfx_edge.components.core.litert.quantization.quantization_options import LITERT, QuantizationOptions
from tfx_edge.components.core.litert.quantization.quantize import quantize_model
from tfx_edge.components.core.loops.unrolling import MOST_ROUNDS, unroll

from ..compression.conftest import make_options, make_pruning

pytestmark = pytest.mark.slow
_STEPS = 5


def _tokens() -> tuple[Any, Any]:
    tokens = keras.Input((_STEPS,), dtype='int64', name='tokens')
    return tokens, layers.Embedding(11, 6, mask_zero=True)(tokens)


def _many_layers() -> keras.Model:
    """Every kind of recurrent layer on masked and on plain steps, in one model."""
    tokens, masked = _tokens()
    plain = layers.Embedding(11, 6)(tokens)
    stacked = layers.GRU(4)(layers.LSTM(5, return_sequences=True)(masked))
    hidden, *state = layers.LSTM(3, return_state=True)(plain)
    found = {
        'stacked': stacked,
        'sequence': layers.GRU(3, return_sequences=True, reset_after=False)(masked),
        'both_ways': layers.Bidirectional(layers.LSTM(3, return_sequences=True))(plain),
        'backwards': layers.SimpleRNN(4, go_backwards=True)(masked),
        'state': layers.Concatenate()([hidden, *state]),
        'last': layers.GRU(4, zero_output_for_mask=True, return_sequences=True)(masked)[:, -1],
    }
    return keras.Model({'tokens': tokens}, found)


@pytest.fixture(scope='module')
def many_layers(tmp_path_factory: pytest.TempPathFactory) -> str:
    keras.utils.set_random_seed(0)
    folder = str(tmp_path_factory.mktemp('recurrent') / 'model')
    model = _many_layers()
    random = np.random.default_rng(1)
    for weight in model.weights:
        if 'bias' in weight.path:
            weight.assign(random.normal(size=weight.shape) / 2)
    model.export(folder, verbose=False)
    return folder


@pytest.fixture(scope='module')
def tokens() -> np.ndarray:
    random = np.random.default_rng(0)
    lengths = random.integers(0, _STEPS + 1, (9, 1))
    return random.integers(1, 11, (9, _STEPS)) * (np.arange(_STEPS) < lengths)


@pytest.fixture(scope='module')
def file(many_layers: str) -> bytes:
    return convert_saved_model(many_layers, 'serving_default')


def test_file_answers_as_the_model_at_any_batch_size(
    many_layers: str, file: bytes, tokens: np.ndarray
) -> None:
    assert not has_loops(file)
    expected = tf.saved_model.load(many_layers).signatures['serving_default'](tokens=tf.constant(tokens))
    for rows in (slice(0, 1), slice(0, 9)):
        found = LiteRTModel(file, max_batch_size=9)({'tokens': tokens[rows]})
        assert set(found) == set(expected)
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name].numpy()[rows], atol=1e-6)


@pytest.mark.parametrize('mode', ['INT8', 'INT16X8'])
def test_integer_file_answers_as_the_model(file: bytes, tokens: np.ndarray, mode: str) -> None:
    """The state starts at zero, whatever the biases are: its steps leave the kernel as it is."""
    values = [ActivationReader(file)({'tokens': tokens[row : row + 1]}) for row in range(len(tokens))]
    ranges = {
        name: (min(float(v[name].min()) for v in values), max(float(v[name].max()) for v in values))
        for name in values[0]
    }
    quantized = quantize_model(file, QuantizationOptions(mode, engine=LITERT), ranges)
    expected, found = (LiteRTModel(model)({'tokens': tokens}) for model in (file, quantized))
    for name, answer in expected.items():
        error = np.mean(np.square(found[name] - answer))
        assert 10 * np.log10(np.var(answer) / error) > (20 if mode == 'INT8' else 50), name


def test_operators_are_named_after_their_layer_and_step(file: bytes) -> None:
    assert b'StatefulPartitionedCall/' not in file
    assert b'/while/4/' in file


def test_unrolled_graph_is_trained_as_the_loop_is(many_layers: str, tokens: np.ndarray) -> None:
    """The same weights, found outside of loops; the same answers and gradients."""
    signature = choose_signature(many_layers)
    rolled = ServingGraph(many_layers, signature)
    unrolled = ServingGraph(many_layers, signature, unroll_loops=True)
    assert rolled.has_loops
    assert not unrolled.has_loops
    names = [[site.variable.name for site in find_weight_sites(graph)] for graph in (rolled, unrolled)]
    assert names[0] == names[1]

    def of(graph: ServingGraph) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        values = {v.key: tf.constant(v.value) for v in graph.variables if v.trainable}
        outputs = graph.call({'tokens': tf.constant(tokens)}, values, list(graph.outputs.values()))
        return outputs, tf.gradients([tf.reduce_sum(output**2) for output in outputs], list(values.values()))

    both = tf.function(lambda: [of(graph) for graph in (rolled, unrolled)], autograph=False)()
    for one, other in zip(tf.nest.flatten(both[0]), tf.nest.flatten(both[1]), strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=1e-4, atol=1e-5
        )


def test_one_loop_can_be_trained_twice_in_a_process(tmp_path: pathlib.Path, tokens: np.ndarray) -> None:
    ids, masked = _tokens()
    keras.Model({'tokens': ids}, layers.Dense(2)(layers.LSTM(4)(masked))).export(
        tmp_path / 'm', verbose=False
    )
    folder = str(tmp_path / 'm')
    for target in (0.25, 0.5):
        graph = ServingGraph(folder, choose_signature(folder))
        batches = iter([{'tokens': tokens}] * 6)
        values = prune(graph, make_pruning(target), make_options(3), batches)
        assert sum(np.count_nonzero(value == 0) for value in values.values()) > 0


def _with_many_steps(folder: str) -> None:
    x = keras.Input((MOST_ROUNDS + 1, 3), name='x')
    keras.Model(x, layers.LSTM(2)(x)).export(folder, verbose=False)


def _as_long_as_the_input_says(folder: str) -> None:
    def serve(steps: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.reduce_max(length)
        written = tf.TensorArray(tf.float32, 4, element_shape=(None, 3))
        _, written = tf.while_loop(
            lambda i, _: i < count,
            lambda i, done: (i + 1, done.write(i, tf.gather(steps, i, axis=1) * 2.0)),
            (tf.constant(0), written),
        )
        return {'y': written.stack()}

    specs = [tf.TensorSpec((None, 4, 3), name='steps'), tf.TensorSpec((None,), tf.int32, name='length')]
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})


@pytest.mark.parametrize('export', [_with_many_steps, _as_long_as_the_input_says])
def test_loops_that_cannot_be_written_out_are_refused_with_the_remedy(
    export: Callable[[str], None], tmp_path: pathlib.Path
) -> None:
    folder = str(tmp_path / 'model')
    export(folder)
    graph = ServingGraph(folder, choose_signature(folder), unroll_loops=True)
    assert graph.has_loops
    assert unroll(graph.graph_def) is None
    with pytest.raises(
        EdgeError, match=r'loop over the steps of a sequence .* fixed number of steps .* unroll=True'
    ):
        convert_saved_model(folder, 'serving_default')
