"""SavedModels of one graph are loaded once, and each has its own values."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.golden import files
from tfx_edge.components.core.compression.graph.checkpoint import write_with_values
from tfx_edge.components.core.compression.graph.loaded_model import LoadedModels

GOLDEN = files.saved_model('exact')
MATRIX = 'matrix/.ATTRIBUTES/VARIABLE_VALUE'
IMAGES = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)


class User:
    """Whoever works on a model."""


@pytest.fixture
def other(tmp_path: pathlib.Path) -> str:
    """The same graph with another matrix."""
    (tmp_path / 'other').mkdir()
    write_with_values(str(GOLDEN), str(tmp_path / 'other'), {MATRIX: np.eye(8, 4, dtype=np.float32)})
    return str(tmp_path / 'other')


def answers(loaded: object) -> np.ndarray:
    return loaded.signatures['serving_default'](image=IMAGES)['digit'].numpy()


def test_model_of_the_same_graph_is_loaded_once_with_its_own_values(other: str) -> None:
    models = LoadedModels()
    user = User()
    first = models.load(str(GOLDEN), user)
    before = answers(first)
    del user
    second = models.load(other, user := User())
    assert second is first
    np.testing.assert_array_equal(answers(second), answers(LoadedModels().load(other, User())))
    del user
    np.testing.assert_array_equal(answers(models.load(str(GOLDEN), User())), before)


def test_model_in_use_is_not_touched(other: str) -> None:
    models = LoadedModels()
    user = User()
    first = models.load(str(GOLDEN), user)
    before = answers(first)
    assert models.load(other, User()) is not first
    np.testing.assert_array_equal(answers(first), before)


def test_another_graph_is_loaded(module_saved_model: pathlib.Path) -> None:
    models = LoadedModels()
    models.load(str(GOLDEN), User())
    assert 'predict' in models.load(str(module_saved_model), User()).signatures


class _WithTable(tf.Module):
    """A matrix, and a table whose content is in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = tf.Variable(np.eye(2, dtype=np.float32))
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
        self.table.insert(1, 3.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'y': x @ self.matrix * self.table.lookup(tf.constant(1, tf.int64))}


def test_model_whose_checkpoint_holds_more_than_variables_is_loaded_anew(tmp_path: pathlib.Path) -> None:
    module = _WithTable()
    tf.saved_model.save(module, str(tmp_path), signatures={'predict': module.predict})
    models = LoadedModels()
    first = models.load(str(tmp_path), User())
    second = models.load(str(tmp_path), User())
    assert second is not first
    assert second.signatures['predict'](x=tf.ones((1, 2)))['y'].numpy().tolist() == [[3.0, 3.0]]
