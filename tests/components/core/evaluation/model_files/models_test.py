"""A `.tflite` file and a SavedModel, called alike."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files import models
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.signature import TensorSpec


class Scaler(tf.Module):
    """Signatures of several names and batches over the same arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name='x')])
    def any_batch(self, x):
        return {'y': x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([4, 2], name='x')])
    def batch_of_four(self, x):
        return {'y': x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serialized(self, examples):
        return {'y': tf.strings.length(examples)}


@pytest.fixture(scope='module')
def scaler(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp('scaler') / 'model')
    module = Scaler()
    names = {'serving_default': module.serialized, 'score': module.any_batch, 'four': module.batch_of_four}
    tf.saved_model.save(module, folder, signatures={k: f.get_concrete_function() for k, f in names.items()})
    return folder


@pytest.fixture(scope='module')
def digits_tflite_folder(digits_float, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp('tflite')
    (folder / 'tflite').write_bytes(digits_float)
    return str(folder)


def test_a_saved_model_is_called_by_its_dense_signature(scaler):
    model = models.load_model(models.find_model(scaler))
    assert model.signature_name == 'four'
    x = np.arange(22, dtype=np.float32).reshape(11, 2)
    np.testing.assert_array_equal(model({'x': x})['y'], x * 3)
    named = models.load_model(models.find_model(scaler, 'score'))
    np.testing.assert_array_equal(named({'x': x})['y'], x * 3)


def test_a_baseline_is_called_by_the_name_of_the_candidate(scaler):
    candidate = models.load_model(models.find_model(scaler, 'score'))
    assert models.find_baseline(scaler, '', candidate).signature_name == 'score'
    assert models.find_baseline(scaler, 'four', candidate).signature_name == 'four'


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(EdgeError, match="holds neither a file 'tflite' nor a SavedModel"):
        models.find_model(str(tmp_path))


class Odd(tf.Module):
    """Inputs whose names are no names of Python, and outputs that are no rows of numbers."""

    def serve(self, inputs):
        return {
            'difference': inputs['sensor/x'] - inputs['2nd'],
            'key': inputs['key'],
            'text': tf.strings.as_string(inputs['key']),
            'sigma': tf.constant(100.0),
            'mean': tf.reduce_mean(inputs['2nd'], 0),
        }


def test_odd_inputs_are_given_and_odd_outputs_left_out(tmp_path):
    module, kinds = Odd(), {'sensor/x': tf.float32, '2nd': tf.float32, 'key': tf.int64}
    specs = {name: tf.TensorSpec((None, 2), kind, name=name) for name, kind in kinds.items()}
    signature = tf.function(module.serve).get_concrete_function(specs)
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': signature})
    model = models.load_model(models.find_model(str(tmp_path)))
    assert model.outputs == {'difference': (None, 2), 'key': (None, 2)}
    assert model.classes == {'key'}
    assert model.left_out == {
        'mean': 'has the shape (2,), without a batch dimension',
        'sigma': 'has the shape (), without a batch dimension',
        'text': 'is string',
    }
    assert model.is_named
    x = np.arange(80, dtype=np.float32).reshape(40, 2)
    answered = model({'sensor/x': 3 * x, '2nd': x, 'key': x.astype(np.int64)})
    assert set(answered) == set(model.outputs)
    np.testing.assert_array_equal(answered['difference'], 2 * x)
    np.testing.assert_array_equal(answered['key'], x)


def test_a_model_without_rows_of_numbers_is_refused(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {'text': tf.strings.as_string(x)}, input_signature=[tf.TensorSpec([None, 2], name='x')]
    )
    tf.saved_model.save(module, str(tmp_path), signatures={'serving_default': module.serve})
    with pytest.raises(EdgeError, match=r"no output to evaluate \('text' is string\); expected numbers"):
        models.load_model(models.find_model(str(tmp_path)))


class Wide(tf.Module):
    """Products long enough for TensorFlow to add them up in another order for another batch size."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(300, 700)).astype(np.float32))
        self.second = tf.Variable(random.normal(size=(700, 10)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 300], name='x')])
    def serve(self, x):
        return {'y': tf.nn.softmax(tf.nn.relu(x @ self.first) @ self.second / 300.0)}


@pytest.mark.parametrize('kind', ['saved_model', pytest.param('tflite', marks=pytest.mark.slow)])
def test_an_answer_does_not_depend_on_the_batch(kind, tmp_path):
    module = Wide()
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve.get_concrete_function())
    if kind == 'tflite':
        (tmp_path / 'tflite').write_bytes(convert_saved_model(str(tmp_path), 'serving_default'))
    model = models.load_model(models.find_model(str(tmp_path)))
    x = np.random.default_rng(1).normal(size=(70, 300)).astype(np.float32)
    whole = model({'x': x})['y']
    for size in (1, 3, 31, 33):
        parts = [model({'x': x[i : i + size]})['y'] for i in range(0, 70, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(0).permutation(70)
    np.testing.assert_array_equal(model({'x': x[order]})['y'], whole[order])


def test_models_that_take_the_same_features_share_them(digits_saved_model, digits_tflite_folder, digits):
    both = {
        'candidate': models.load_model(models.find_model(digits_tflite_folder)),
        'baseline': models.load_model(models.find_model(str(digits_saved_model))),
    }
    assert models.common_inputs(both) == {'image': TensorSpec((None, 8, 8, 1), tf.float32)}
    flat = {'image': digits['x_eval'][:3].reshape(3, 64)}
    for model in both.values():
        assert models.fitted(model, flat)['image'].shape == (3, 8, 8, 1)


def test_a_damaged_file_is_refused(digits_tflite_folder, tmp_path):
    content = pathlib.Path(digits_tflite_folder, 'tflite').read_bytes()
    (tmp_path / 'tflite').write_bytes(content[: len(content) // 2])
    with pytest.raises(EdgeError) as caught:
        models.load_model(models.find_model(str(tmp_path)))
    assert '\n' not in str(caught.value)


def test_a_tflite_file_goes_before_a_saved_model_beside_it(scaler, digits_tflite_folder, tmp_path):
    folder = tmp_path / 'both'
    shutil.copytree(scaler, folder)
    shutil.copy(pathlib.Path(digits_tflite_folder, 'tflite'), folder)
    assert models.find_model(str(folder)).is_tflite
