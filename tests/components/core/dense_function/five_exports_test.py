"""One net, exported in five ways: a signature of strings alone gives the bytes that a dense signature gives."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

pytestmark = pytest.mark.slow

_NAMES = ('a', 'b')


def _net(library: Any) -> Any:
    library.utils.set_random_seed(0)
    inputs = {name: library.layers.Input((1,), name=name) for name in _NAMES}
    both = library.layers.Concatenate()(list(inputs.values()))
    hidden = library.layers.Dense(8, activation='relu', name='hidden')(both)
    return library.Model(inputs, library.layers.Dense(3, name='scores')(hidden))


def _of_strings(model: Any, output: str = 'outputs') -> Any:
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in _NAMES}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: model(tf.io.parse_example(examples, spec))}

    return serve


def _dense(model: Any) -> Any:
    specs = {name: tf.TensorSpec([None, 1], tf.float32, name=name) for name in _NAMES}

    @tf.function(input_signature=[specs])
    def serve(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {'outputs': model(features)}

    return serve


def _saved(model: Any, signature: Any, folder: str) -> None:
    tf.saved_model.save(model, folder, signatures={'serving_default': signature})


def _in_a_module(model: Any, signature: Any, folder: str) -> None:
    module = tf.Module()
    module.model = model
    _saved(module, signature, folder)


def _archived(model: Any, signature: Any, folder: str) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint('serving_default', signature)
    archive.write_out(folder, verbose=False)


_WAYS = {
    'tf_keras': (tf_keras, _saved),
    'Keras 3, tf.saved_model.save': (keras, _saved),
    'Keras 3, ExportArchive': (keras, _archived),
    'tf.Module': (keras, _in_a_module),
}


@pytest.mark.parametrize('way', _WAYS)
def test_both_signatures_give_the_same_file(way: str, tmp_path: pathlib.Path) -> None:
    library, save = _WAYS[way]
    model = _net(library)
    files = []
    for kind, signature in (('strings', _of_strings(model)), ('dense', _dense(model))):
        folder = str(tmp_path / kind)
        save(model, signature, folder)
        files.append(convert_saved_model(folder, choose_signature(folder)))
    assert files[0] == files[1]


def test_the_dense_signature_of_keras_export_gives_the_same_file(tmp_path: pathlib.Path) -> None:
    model = _net(keras)
    model.export(str(tmp_path / 'exported'), verbose=False)
    _saved(model, _of_strings(model, 'output_0'), str(tmp_path / 'strings'))
    folders = [str(tmp_path / name) for name in ('exported', 'strings')]
    exported, strings = (convert_saved_model(folder, choose_signature(folder)) for folder in folders)
    assert exported == strings


def test_a_name_settles_what_is_taken(tmp_path: pathlib.Path) -> None:
    model = _net(tf_keras)
    _saved(model, _of_strings(model), str(tmp_path))
    chosen = choose_signature(str(tmp_path))
    assert chosen.source is not None
    assert chosen.source.keras_function == '_default_save_signature'
    assert choose_signature(str(tmp_path), 'serving_default') == chosen
    own = choose_signature(str(tmp_path), '_default_save_signature')
    assert set(own.outputs) == {'scores'}
    assert own.inputs == chosen.inputs


def test_what_the_signature_adds_to_the_model_is_in_the_file(tmp_path: pathlib.Path) -> None:
    model = _net(keras)
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in _NAMES}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'probabilities': tf.nn.softmax(model(tf.io.parse_example(examples, spec)))}

    _saved(model, serve, str(tmp_path))
    chosen = choose_signature(str(tmp_path))
    assert chosen.source is not None
    assert not chosen.source.keras_function
    answers = LiteRTModel(convert_saved_model(str(tmp_path), chosen))(
        {name: np.ones((4, 1), np.float32) for name in _NAMES}
    )
    np.testing.assert_allclose(answers['probabilities'].sum(1), 1, rtol=1e-6)


def test_inputs_that_the_signature_exchanges_stay_exchanged(tmp_path: pathlib.Path) -> None:
    """The same operators and names, but not the same function: the signature's is taken."""
    model = _net(tf_keras)
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in _NAMES}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(examples, spec)
        return {'outputs': model({'a': features['b'], 'b': features['a']})}

    _saved(model, serve, str(tmp_path))
    chosen = choose_signature(str(tmp_path))
    assert chosen.source is not None
    assert not chosen.source.keras_function
