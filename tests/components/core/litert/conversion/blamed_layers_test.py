"""What cannot be converted is reported by the name of its layer, as its author wrote it."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import keras
import pytest
import tensorflow as tf
import tf_keras

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model

pytestmark = pytest.mark.slow


def _whitening(line: Any) -> Any:
    """A class of layers that LiteRT has no kernel for."""

    class Whitening(line.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs @ tf.linalg.inv(tf.eye(4) + tf.einsum('bi,bj->ij', inputs, inputs))

    return Whitening


def _model(line: Any) -> Any:
    """One such layer on top with a number in its name, one in a model within, and hashing."""
    layers, whitening = line.layers, _whitening(line)
    inner = [line.Input((4,)), layers.Dense(4, name='first'), whitening(name='inner_whitening')]
    numbers, ids = line.Input((4,), name='numbers'), line.Input((1,), dtype='int64', name='ids')
    hidden = line.Sequential(inner, name='inner_net')(layers.Dense(4)(numbers))
    hashed = layers.Hashing(num_bins=5, name='bins_of_ids')(ids)
    found = layers.Flatten()(layers.Embedding(5, 4)(hashed))
    return line.Model([numbers, ids], layers.Add()([whitening(name='whitening_1')(hidden), found]))


def _refusal(folder: pathlib.Path) -> str:
    with pytest.raises(EdgeError) as raised:
        convert_saved_model(str(folder), 'serving_default')
    assert '\n' not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize('how', ['keras 3 export', 'keras 3 save', 'tf_keras'])
def test_layers_have_the_names_that_their_author_gave_them(how: str, tmp_path: pathlib.Path) -> None:
    model = _model(tf_keras if how == 'tf_keras' else keras)
    if how == 'tf_keras':
        model.save(tmp_path, save_format='tf')
    elif how == 'keras 3 save':
        tf.saved_model.save(model, str(tmp_path))
    else:
        model.export(tmp_path, verbose=False)
    message = _refusal(tmp_path)
    assert 'LiteRT has no kernel for AsString, MatrixInverse, StringToHashBucketFast in layers ' in message
    found = re.findall(r"'(\w+)' \(", message.partition('layers')[2])
    assert sorted(found) == ['bins_of_ids', 'inner_whitening', 'whitening_1']


@pytest.mark.parametrize('line', ['keras 3', 'tf_keras'])
def test_a_loop_that_is_too_long_is_reported_by_its_layer(line: str, tmp_path: pathlib.Path) -> None:
    module = keras if line == 'keras 3' else tf_keras
    steps = module.Input((200, 4), name='steps')
    model = module.Model(steps, module.layers.GRU(3, name='memory')(steps))
    if line == 'keras 3':
        model.export(tmp_path, verbose=False)
    else:
        tf.saved_model.save(model, str(tmp_path))
    assert re.search(r"loop over the steps of a sequence \(.*\) in layer 'memory' \(", _refusal(tmp_path))


def test_an_operator_outside_of_layers_is_reported_alone(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    specs = [tf.TensorSpec((None, 4, 4), tf.float32, name='x')]
    module.serve = tf.function(lambda x: {'y': tf.linalg.inv(x)}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.serve})
    assert '(LiteRT has no kernel for MatrixInverse). Replace' in _refusal(tmp_path)
