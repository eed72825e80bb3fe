"""Preprocessing layers of both Keras lines become files that answer as the model does, to the bit."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.preprocessing.rewriting import has_rewritten

pytestmark = pytest.mark.slow

_MODES = ('one_hot', 'multi_hot', 'count')
_WORDS = [10, 20, -5, 2**40, 2**40 + 1]
_LINES = {'keras 3': keras, 'tf_keras': tf_keras}


def _model(line: Any) -> Any:
    """Each kind of layer in each mode."""
    layers = line.layers
    category = line.Input((1,), dtype='int32', name='category')
    identifiers = line.Input((3,), dtype='int64', name='identifiers')
    numbers = line.Input((3,), dtype='float32', name='numbers')
    outputs = {}
    for mode in _MODES:
        # One value in each row, or three.
        source = (category, identifiers[:, :1], numbers[:, :1])
        if mode != 'one_hot':
            source = (category, identifiers, numbers)
            counted = layers.CategoryEncoding(num_tokens=4, output_mode=mode)
            outputs[f'{mode}_of_three'] = counted(identifiers % 4)
        outputs[f'{mode}_category'] = layers.CategoryEncoding(num_tokens=5, output_mode=mode)(source[0])
        for extra in (1, 3):
            known = layers.IntegerLookup(vocabulary=_WORDS, num_oov_indices=extra, output_mode=mode)
            outputs[f'{mode}_known_{extra}'] = known(source[1])
        bins = layers.Discretization(bin_boundaries=[-1.0, 0.0, 2.5], output_mode=mode)
        outputs[f'{mode}_bins'] = bins(source[2])
    weights = layers.CategoryEncoding(num_tokens=4, output_mode='count')
    outputs['weighted'] = weights(identifiers % 4, count_weights=numbers)
    outputs['index'] = layers.IntegerLookup(vocabulary=_WORDS, mask_token=0)(identifiers)
    outputs['bin'] = layers.Discretization(bin_boundaries=[-1.0, 0.0, 2.5])(numbers)
    outputs['scaled'] = layers.Rescaling(0.5, offset=1)(numbers)
    outputs['normal'] = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 16.0])(numbers)
    return line.Model({'category': category, 'identifiers': identifiers, 'numbers': numbers}, outputs)


@functools.cache
def _inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    known = random.choice([*_WORDS, 0, 7, -(2**62)], (40, 3))
    # On the bounds of bins too, and exact when they are added up.
    halves = random.integers(-6, 10, (40, 3)) / 2
    return {
        'category': random.integers(0, 5, (40, 1)).astype(np.int32),
        'identifiers': known.astype(np.int64),
        'numbers': halves.astype(np.float32),
    }


@pytest.fixture(scope='module', params=list(_LINES))
def saved_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp('layers'))
    model = _model(_LINES[request.param])
    if request.param == 'keras 3':
        model.export(folder, verbose=False)
    else:
        tf.saved_model.save(model, folder)
    return folder


@pytest.fixture(scope='module')
def file(saved_model: str) -> bytes:
    return convert_saved_model(saved_model, 'serving_default')


def test_the_file_answers_what_the_model_answers(saved_model: str, file: bytes) -> None:
    signature = tf.saved_model.load(saved_model).signatures['serving_default']
    expected = signature(**{name: tf.constant(array) for name, array in _inputs().items()})
    found = LiteRTModel(file)(_inputs())
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype.as_numpy_dtype, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_what_is_trained_has_the_operators_of_the_file(saved_model: str) -> None:
    """So that the quantizer's arithmetic is found in it."""
    graph = ServingGraph(saved_model, choose_signature(saved_model))
    assert not has_rewritten(graph.graph_def)
    inputs = {name: tf.constant(array) for name, array in _inputs().items()}
    found = tf.function(lambda: graph.call(inputs, {}, list(graph.outputs.values())))()
    for name, array in zip(graph.outputs, found, strict=True):
        np.testing.assert_array_equal(array, graph.answers(_inputs())[name], err_msg=name)


def test_the_same_bytes_each_time(saved_model: str, file: bytes) -> None:
    """A table has no order of its own."""
    assert convert_saved_model(saved_model, 'serving_default') == file


def test_integers_beyond_the_last_are_dropped(tmp_path: pathlib.Path) -> None:
    tokens = keras.Input((2,), dtype='int64', name='tokens')
    keras.Model(tokens, keras.layers.CategoryEncoding(num_tokens=3)(tokens)).export(tmp_path, verbose=False)
    found = LiteRTModel(convert_saved_model(str(tmp_path), 'serving_default'))
    (answered,) = found({'tokens': np.array([[0, 3], [2, 2**33]])}).values()
    np.testing.assert_array_equal(answered, [[1, 0, 0], [0, 0, 1]])


def test_counts_of_an_open_number_are_refused_with_the_remedy(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    specs = [tf.TensorSpec((None, 2), tf.int64, name='tokens')]
    module.serve = tf.function(lambda tokens: {'y': tf.math.bincount(tokens, axis=-1)}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.serve})
    with pytest.raises(
        EdgeError, match=r'no kernel for DenseBincount\). Count up to a fixed number \(minlength'
    ):
        convert_saved_model(str(tmp_path), 'serving_default')
