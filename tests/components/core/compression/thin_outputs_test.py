"""A last layer that is left with few weights for each output is named before anything is trained."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.constraints.sparsity_structure import MOfN
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.weights.output_weights import output_weights

from .conftest import make_options, make_pruning, open_graph


class _TwoHeads(tf.Module):
    """20 features, 40 units, and two heads behind them: ten classes, and one number by a further layer."""

    def __init__(self, heads_scale: float = 1.0) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        shapes = {'hidden': (20, 40), 'classes': (40, 10), 'before': (40, 60), 'number': (60, 1)}
        for name, shape in shapes.items():
            value = random.normal(scale=heads_scale if name in ('classes', 'number') else 1.0, size=shape)
            setattr(self, name, tf.Variable(value.astype(np.float32), name=name))

    @tf.function(input_signature=[tf.TensorSpec((None, 20), tf.float32, name='x')])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        units = tf.nn.relu(x @ self.hidden)
        return {
            'classes': tf.nn.softmax(units @ self.classes),
            'number': tf.nn.relu(units @ self.before) @ self.number,
        }


class _BeforeALoop(tf.Module):
    """A layer whose units a loop goes on with, by weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tf.Variable(np.eye(4, dtype=np.float32), name='first')
        self.inside = tf.Variable(np.eye(4, dtype=np.float32), name='inside')

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        def body(step: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return step + 1, tf.tanh(state @ self.inside)

        units = x @ self.first
        shapes = (tf.TensorShape([]), units.shape)
        return {'y': tf.while_loop(lambda step, _: step < 3, body, (tf.constant(0), units), shapes)[1]}


def _saved(module: Any, folder: str) -> str:
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    return folder


@pytest.fixture(scope='module')
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(_TwoHeads(), str(tmp_path_factory.mktemp('heads') / 'model'))


def _warned(folder: str, caplog: pytest.LogCaptureFixture, *arguments: Any, **options: Any) -> list[str]:
    caplog.set_level(logging.WARNING, 'tfx_edge')
    prune(open_graph(folder), make_pruning(*arguments, **options), make_options(0), None)
    return [message for message in caplog.messages if ' weights for ' in message]


def test_last_layers_are_those_behind_which_no_weight_comes(two_heads: str, tmp_path: Any) -> None:
    for folder, wanted in (
        (two_heads, ['classes', 'number']),
        (_saved(_BeforeALoop(), str(tmp_path / 'loop')), []),
    ):
        graph = open_graph(folder)
        last = output_weights(graph)
        assert sorted(v.name for v in graph.variables if v.key in last) == wanted


def test_a_layer_that_keeps_few_weights_for_each_class_is_named(
    two_heads: str, caplog: pytest.LogCaptureFixture
) -> None:
    (warning,) = _warned(two_heads, caplog, 0.93)
    assert warning == (
        'classes keeps 28 of 400 weights for 10 outputs: with fewer than 3 for each, most models answer much worse. '
        "Leave it dense with exclude=['^classes$'], or set scope='GLOBAL'."
    )


def test_one_output_needs_as_many(two_heads: str, caplog: pytest.LogCaptureFixture) -> None:
    of_classes, of_number = _warned(two_heads, caplog, 0.96)
    assert of_classes.startswith('classes keeps 16 of 400 weights')
    assert of_number.startswith('number keeps 2 of 60 weights for one output: with fewer than 3')


@pytest.mark.parametrize(
    'options',
    [{'target': 0.92}, {'target': 0.95, 'exclude': ('^classes$', '^number$')}],
    ids=['enough is kept', 'left dense'],
)
def test_others_are_not(two_heads: str, caplog: pytest.LogCaptureFixture, options: dict[str, Any]) -> None:
    assert not _warned(two_heads, caplog, **options)


def test_in_a_structure_without_scope_only_leaving_it_dense_helps(
    two_heads: str, caplog: pytest.LogCaptureFixture
) -> None:
    (warning,) = _warned(two_heads, caplog, 1.0, structure=MOfN(15, 16))
    assert warning.startswith('classes keeps 25 of 400 weights for 10 outputs')
    assert warning.endswith("Leave it dense with exclude=['^classes$'].")


def test_over_all_weights_what_was_kept_counts(
    two_heads: str, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    (warning,) = _warned(two_heads, caplog, 0.93, scope='GLOBAL')
    values = prune(open_graph(two_heads), make_pruning(0.93, scope='GLOBAL'), make_options(0), None).values()
    (kept,) = [np.count_nonzero(value) for value in values if value.shape == (40, 10)]
    assert warning.startswith(f'classes keeps {kept} of 400 weights for 10 outputs: ')
    assert warning.endswith("Leave it dense with exclude=['^classes$'].")
    caplog.clear()
    large = _saved(_TwoHeads(heads_scale=3.0), str(tmp_path / 'large'))
    assert not _warned(large, caplog, 0.93, scope='GLOBAL')
