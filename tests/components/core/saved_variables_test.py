"""Variables of a SavedModel that a copy or a disk damaged are named, whoever reads them."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.compression.graph.loaded_model import LoadedModels
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.conversion.convert import convert_saved_model
from tfx_edge.components.core.saved_variables import load_saved_model, require_readable_variables
from tfx_edge.components.core.signature import read_saved_model

_KINDS = {
    'truncated': 'cannot be read .*; copy the whole folder again, or export the model again',
    'flipped': r'variables/\d.*Checksum does not match',
    'empty index': 'variables.index: file is too short',
    'gone': 'variables.index is not there',
}


def _damaged(kind: str, folder: pathlib.Path) -> str:
    shutil.copytree(files.saved_model('digits'), folder)
    variables = folder / 'variables'
    (data,) = variables.glob('*.data*')
    if kind == 'truncated':
        data.write_bytes(data.read_bytes()[:1000])
    elif kind == 'flipped':
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 85
        data.write_bytes(content)
    elif kind == 'empty index':
        (variables / 'variables.index').write_bytes(b'')
    else:
        shutil.rmtree(variables)
    return str(folder)


@pytest.mark.parametrize('kind', _KINDS)
def test_damage_is_named_with_the_remedy(kind: str, tmp_path: pathlib.Path) -> None:
    folder = _damaged(kind, tmp_path / 'model')
    with pytest.raises(EdgeError, match=_KINDS[kind]) as caught:
        load_saved_model(folder)
    assert folder in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_the_converter_is_not_blamed_for_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match='Checksum does not match') as caught:
        convert_saved_model(_damaged('flipped', tmp_path / 'model'), 'serving_default')
    assert 'LiteRT lacks' not in str(caught.value)


def test_a_whole_model_and_one_without_variables_are_readable(tmp_path: pathlib.Path) -> None:
    require_readable_variables(str(files.saved_model('digits')))
    module = tf.Module()
    specs = [tf.TensorSpec((None, 2), tf.float32, name='x')]
    module.double = tf.function(lambda x: {'y': 2.0 * x}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures={'serving_default': module.double})
    shutil.rmtree(tmp_path / 'model' / 'variables')
    require_readable_variables(str(tmp_path / 'model'))


def test_a_damaged_model_with_the_graph_of_the_one_that_is_kept_is_named(tmp_path: pathlib.Path) -> None:
    models = LoadedModels()
    whole = models.load_briefly(str(files.saved_model('digits')))
    expected = [variable.numpy() for variable in whole.variables]
    assert expected
    with pytest.raises(EdgeError, match=_KINDS['flipped']):
        models.load_briefly(_damaged('flipped', tmp_path / 'model'))
    again = models.load_briefly(str(files.saved_model('digits')))
    for value, variable in zip(expected, again.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def _with_unknown_operator(folder: pathlib.Path) -> str:
    """The digits net with an operator that a library of its own registers, as tensorflow-text does."""
    shutil.copytree(files.saved_model('digits'), folder)
    path = folder / 'saved_model.pb'
    saved_model = read_saved_model(str(folder))
    for meta_graph in saved_model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                node.op = 'FancyRelu' if node.op == 'Relu' else node.op
    path.write_bytes(saved_model.SerializeToString())
    return str(folder)


def test_an_operator_that_tensorflow_does_not_have_is_named(tmp_path: pathlib.Path) -> None:
    folder = _with_unknown_operator(tmp_path / 'model')
    with pytest.raises(
        EdgeError, match="uses the operator 'FancyRelu', which TensorFlow does not have; "
    ) as caught:
        load_saved_model(folder)
    assert folder in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_the_converter_names_it_too(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EdgeError, match="uses the operator 'FancyRelu', which TensorFlow does not have; "):
        convert_saved_model(_with_unknown_operator(tmp_path / 'model'), 'serving_default')
