"""Kept weights that make up for dropped ones: what layers read, the update, and what it gains in a net."""

from __future__ import annotations

import itertools
import logging
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.pruning import prune
from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.core.compression.weights.compensation import compensated
from tfx_edge.components.core.compression.weights.input_moments import InputMoments, input_moments
from tfx_edge.components.core.compression.weights.weight_sites import find_weight_sites

from ..conftest import make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_no_other_values_of_the_kept_weights_come_nearer(
    groups: int, inputs: int, outputs: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    read = random.normal(1, 1, (groups, 50, inputs))
    moments = InputMoments(read.transpose(0, 2, 1) @ read / 50)
    shape = (inputs, outputs) if groups == 1 else (inputs, groups, outputs)
    weight = random.normal(size=shape).astype(np.float32)
    before = random.random(shape) < 0.8
    after = before & (random.random(shape) < 0.6)
    found = compensated(weight, before, after, moments)
    np.testing.assert_array_equal(found[~after], weight[~after])
    of_group = [np.reshape(array, (inputs, groups, outputs)) for array in (weight, before, after, found)]
    for group, output in itertools.product(range(groups), range(outputs)):
        value, was_kept, is_kept, result = (array[:, group, output] for array in of_group)
        wanted = read[group] @ (value * was_kept)
        best = np.linalg.lstsq(read[group][:, is_kept], wanted, rcond=None)[0]
        np.testing.assert_allclose(result[is_kept], best, atol=1e-3, rtol=1e-3)


class _Layers(tf.Module):
    """Layers of which some can be measured, and some cannot."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {
            'first': (3, 2, 1, 6),
            'depthwise': (2, 2, 6, 2),
            'grouped': (1, 1, 6, 4),
            'twice': (1, 1, 4, 4),
            'matrix': (4, 5),
            'wide': (700, 2),
        }
        random = np.random.default_rng(0)
        for name, shape in shapes.items():
            value = (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
            setattr(self, name, tf.Variable(value, name=name))

    @tf.function(input_signature=[tf.TensorSpec((None, 12, 10, 1), tf.float32, name='image')])
    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.conv2d(image, self.first, [1, 2, 1, 1], 'SAME')
        hidden = tf.nn.depthwise_conv2d(hidden, self.depthwise, [1, 1, 1, 1], 'VALID')
        hidden = tf.nn.conv2d(hidden, self.grouped, 1, 'SAME')
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, self.twice, 1, 'SAME'))
        hidden = tf.nn.conv2d(hidden, self.twice, 1, 'SAME')
        scores = tf.reduce_mean(hidden, (1, 2)) @ self.matrix
        return {'score': scores + tf.reduce_sum(tf.tile(scores, [1, 140]) @ self.wide, 1, keepdims=True)}


@pytest.fixture(scope='module')
def layers(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module, folder = _Layers(), str(tmp_path_factory.mktemp('layers') / 'saved_model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def test_moments_are_those_of_what_each_output_reads(layers: ServingGraph) -> None:
    images = np.random.default_rng(1).normal(1, 1, (8, 12, 10, 1)).astype(np.float32)
    sites = {site.variable.name: site for site in find_weight_sites(layers)}
    found = input_moments(layers, list(sites.values()), [{'image': images}, {'image': images[::-1]}])
    of_name = {name: found[site.variable.key] for name, site in sites.items() if site.variable.key in found}
    # Channels in groups, a weight that two operations use, and outputs of more inputs are left out.
    assert of_name.keys() == {'first', 'depthwise', 'matrix'}
    assert {name: moments.moments.shape for name, moments in of_name.items()} == {
        'first': (1, 6, 6),
        'depthwise': (6, 4, 4),
        'matrix': (1, 4, 4),
    }
    # The kernel of 3 by 2 over rows 0, 2, ... of the padded image.
    padded = np.pad(images[..., 0], ((0, 0), (0, 1), (0, 1)))
    read = [
        padded[:, row : row + 3, column : column + 2].reshape(8, 6)
        for row in range(0, 12, 2)
        for column in range(10)
    ]
    rows = np.concatenate(read).astype(np.float64)
    expected = rows.T @ rows / len(rows)
    expected += 1e-3 * np.trace(expected) / 6 * np.eye(6)
    np.testing.assert_allclose(of_name['first'].moments[0], expected, rtol=1e-4)


def test_examples_that_are_not_finite_leave_moments_finite(layers: ServingGraph) -> None:
    images = np.random.default_rng(1).normal(1, 1, (8, 12, 10, 1)).astype(np.float32)
    images[3, 4] = np.nan
    found = input_moments(layers, find_weight_sites(layers), [{'image': images}])
    assert all(np.isfinite(moments.moments).all() for moments in found.values())


def _distance(
    layers: ServingGraph,
    num_steps: int,
    *,
    compensation: str = 'ALWAYS',
    num_examples: int = 0,
    **pruning: object,
) -> float:
    """How far a pruned net's answers are from the net's, on other images; training hardly moved its weights."""
    random = np.random.default_rng(2)

    def bright(rows: int) -> np.ndarray:
        light = random.uniform(0, 4, (rows, 1, 1, 1))
        return (light + random.normal(0, 0.1, (rows, 12, 10, 1))).astype(np.float32)

    batches = ({'image': bright(32)} for _ in itertools.count())
    values = prune(
        layers,
        make_pruning(compensation=compensation, **pruning),
        make_options(
            num_steps,
            learning_rate=1e-5,
            batch_size=32,
            num_examples=num_examples,
            augmentation='NO_AUGMENTATION',
        ),
        batches,
    )
    images = tf.constant(bright(200))
    name = next(iter(layers.outputs.values()))

    @tf.function(autograph=False)
    def answers(pruned: dict[str, tf.Tensor]) -> tf.Tensor:
        return layers.call({'image': images}, pruned, [name])[0]

    before, after = answers({}), answers({key: tf.constant(value) for key, value in values.items()})
    assert sum(np.count_nonzero(values[site.variable.key] == 0) for site in find_weight_sites(layers))
    return float(tf.reduce_mean(tf.math.squared_difference(before, after)))


def test_a_net_stays_nearer_to_what_it_was(layers: ServingGraph, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    only = {'target': 0.5, 'include': ('first', 'depthwise')}
    assert _distance(layers, 20, **only) < 0.2 * _distance(layers, 20, compensation='NEVER', **only)
    assert 'kept weights make up for dropped ones in 2 of 2 weights (Pruning.compensation)' in caplog.text
    caplog.clear()
    _distance(layers, 2, target=0.5)
    assert '3 of 6 weights (Pruning.compensation); training alone does in grouped, twice, wide' in caplog.text


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    layers: ServingGraph,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(training_checkpoint, 'SECONDS_BETWEEN_CHECKPOINTS', 0.0)
    images = np.random.default_rng(3).normal(1, 1, (40, 16, 12, 10, 1)).astype(np.float32)

    def pruned(folder: str, steps: int) -> dict[str, np.ndarray]:
        batches = ({'image': batch} for batch in images[:steps])
        return prune(
            layers,
            make_pruning(0.5, compensation='ALWAYS'),
            make_options(20, checkpoint_folder=str(tmp_path / folder)),
            batches,
        )

    undisturbed = pruned('whole', 40)
    # The batches end in the middle, as the process does when it is killed.
    with pytest.raises(ValueError, match='shorter'):
        pruned('killed', 11)
    again = pruned('killed', 40)
    assert 'continuing after step 11' in caplog.text
    assert undisturbed.keys() == again.keys()
    for key, value in undisturbed.items():
        np.testing.assert_array_equal(again[key], value)


def test_by_default_it_is_for_examples_that_are_seen_often(
    layers: ServingGraph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    only = {'target': 0.5, 'include': ('first',)}
    always, never = (_distance(layers, 20, compensation=asked, **only) for asked in ('ALWAYS', 'NEVER'))
    assert always != never
    # 20 steps of 32 are 64 and 40 passes.
    assert _distance(layers, 20, compensation='FEW_EXAMPLES', num_examples=10, **only) == always
    assert _distance(layers, 20, compensation='FEW_EXAMPLES', num_examples=16, **only) == never
    assert 'no example is trained on more than 40 times (Pruning.compensation)' in caplog.text


def test_where_it_is_asked_for_and_does_nothing_a_warning_says_why(
    layers: ServingGraph, caplog: pytest.LogCaptureFixture
) -> None:
    for_all = {'target': 0.8, 'include': ('first',)}
    assert _distance(layers, 4, **for_all) == _distance(layers, 4, compensation='NEVER', **for_all)
    assert 'the target is 80% zeros, and Pruning.compensation is for up to 75%' in caplog.text
    prune(layers, make_pruning(0.5, compensation='ALWAYS'), make_options(0), None)
    assert 'without training steps no kept weight makes up for dropped ones' in caplog.text
