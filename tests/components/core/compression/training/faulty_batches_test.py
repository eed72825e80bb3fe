"""Labels that a loss cannot take, and NaN that training runs into: one clear line, and no weights of NaN."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.components.core.compression.conftest import make_options, make_pruning, open_graph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.training.user_functions import UserFunctions
from tfx_edge.components.core.errors import EdgeError, NotFiniteError

pytestmark = pytest.mark.slow


_SIGNATURES = ('each', 'all', 'hiding')


class _Pixels(tf.Module):
    """Classes of each of four pixels, or of all together."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.first = tf.Variable(random.normal(size=(4, 8)).astype(np.float32), name='first')
        self.last = tf.Variable(random.normal(size=(8, 12)).astype(np.float32), name='last')

    def _hidden(self, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.nn.relu(tf.matmul(x, self.first)), self.last)

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
    def each(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'p': tf.nn.softmax(tf.reshape(self._hidden(x), [-1, 2, 2, 3]))}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
    def all(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'p': tf.nn.softmax(self._hidden(x)[:, :3])}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
    def hiding(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.matmul(x, self.first)
        return {'p': tf.matmul(tf.where(hidden > 0, hidden, tf.zeros_like(hidden)), self.last)}


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    net, root = _Pixels(), tmp_path_factory.mktemp('pixels')
    for name in _SIGNATURES:
        tf.saved_model.save(net, str(root / name), signatures={'serving_default': getattr(net, name)})
    return {name: str(root / name) for name in _SIGNATURES}


def _batches(labels: np.ndarray, x: float = 1.0) -> Iterator[Mapping[str, np.ndarray]]:
    return itertools.repeat({'x': np.full((len(labels), 4), x, np.float32), 'y': labels})


def _train(model: str, loss: str, labels: np.ndarray) -> dict[str, np.ndarray]:
    options = make_options(2, loss='LABELS', label_key='y', label_loss=loss)
    return prune(open_graph(model), make_pruning(), options, _batches(labels))


@pytest.mark.parametrize(
    ('model', 'loss', 'labels', 'match'),
    [
        (
            'all',
            'categorical_crossentropy',
            [0, 1],
            "use 'sparse_categorical_crossentropy', or labels with a number",
        ),
        ('all', 'categorical_crossentropy', [[0, 1]], 'holds 2 values in each example, but .* takes 3;'),
        (
            'all',
            'sparse_categorical_crossentropy',
            [0, 3],
            "label 'y' is 3 .* one of 3 classes; expected 0 to 2",
        ),
        ('all', 'sparse_categorical_crossentropy', [-1, 0], "label 'y' is -1"),
        (
            'all',
            'sparse_categorical_crossentropy',
            [[0, 0, 1]],
            'holds 3 values in each example, but .* takes 1;',
        ),
        ('all', 'mean_squared_error', [[0.1, 0.2, np.nan]], "label 'y' holds NaN"),
        ('all', 'sparse_categorical_crossentropy', [b'cat'], "holds texts, such as 'cat'"),
        (
            'each',
            'sparse_categorical_crossentropy',
            [0, 1],
            'holds 1 values in each example, but .* takes 4;',
        ),
        (
            'each',
            'categorical_crossentropy',
            [[0, 1, 2, 0]],
            'holds 4 values in each example, but .* takes 12;',
        ),
    ],
)
def test_labels_that_the_loss_cannot_take_are_named(
    models: dict[str, str], model: str, loss: str, labels: list, match: str
) -> None:
    with pytest.raises(EdgeError, match=match) as raised:
        _train(models[model], loss, np.array(labels))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('model', 'loss', 'labels'),
    [
        ('all', 'sparse_categorical_crossentropy', [0, 2]),
        ('all', 'categorical_crossentropy', [[0, 0, 1]]),
        ('each', 'sparse_categorical_crossentropy', [[0, 1, 2, 0]]),
        ('each', 'categorical_crossentropy', [[0, 0, 1] * 4]),
    ],
)
def test_labels_of_classes_and_of_pixels_train(
    models: dict[str, str], model: str, loss: str, labels: list
) -> None:
    assert all(np.isfinite(value).all() for value in _train(models[model], loss, np.array(labels)).values())


def test_weights_that_become_nan_behind_a_finite_loss_are_refused(models: dict[str, str]) -> None:
    # NaN is no number above zero, so the loss stays finite while the first kernel's gradient is NaN.
    labels = np.zeros(4)
    with pytest.raises(NotFiniteError, match=r'the first step made weights NaN .* no learning rate'):
        prune(open_graph(models['hiding']), make_pruning(), make_options(1), _batches(labels, np.nan))
    later = itertools.chain(itertools.islice(_batches(labels), 2), _batches(labels, np.nan))
    with pytest.raises(NotFiniteError, match=r'training made weights NaN or infinite; .*learning_rate'):
        prune(open_graph(models['hiding']), make_pruning(), make_options(4), later)


def test_a_loss_that_depends_on_no_weight_is_refused(models: dict[str, str]) -> None:
    options = make_options(
        2, functions=UserFunctions(loss_fn=lambda features, teacher, student: tf.constant(1.0))
    )
    with pytest.raises(EdgeError, match='the loss depends on no trained weight'):
        prune(open_graph(models['all']), make_pruning(), options, _batches(np.zeros(4)))
