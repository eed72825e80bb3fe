"""Variations of training examples: what they are, which models get them, and what few examples gain by them."""

from __future__ import annotations

import dataclasses
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
from tfx_edge.components.core.compression.training.augmentation import Augmentation, choose_augmentation

from ..conftest import Batches, make_options, make_pruning, open_graph

pytestmark = pytest.mark.slow


def _vary(augmentation: Augmentation, seed: int = 0, **features: np.ndarray) -> dict[str, np.ndarray]:
    varied = augmentation(
        {name: tf.constant(value) for name, value in features.items()}, tf.constant([0, seed])
    )
    return {name: value.numpy() for name, value in varied.items()}


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 24), min_size=3, max_size=5).map(tuple),
    dtype=st.sampled_from([np.float32, np.uint8, np.int32]),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_shift_moves_each_row_by_a_tenth_of_each_axis_at_most(
    shape: tuple[int, ...], dtype: type, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)
    shifted = _vary(Augmentation(1.0, shifted=('x',)), seed, x=values)['x']
    assert shifted.dtype == dtype
    farthest = [size // 10 for size in shape[1:-1]]
    for before, after in zip(values, shifted, strict=True):
        moves = itertools.product(*(range(-most, most + 1) for most in farthest))
        assert any(np.array_equal(after, _moved(before, offsets)) for offsets in moves)


def _moved(values: np.ndarray, offsets: tuple[int, ...]) -> np.ndarray:
    for axis, offset in enumerate(offsets):
        places = np.clip(np.arange(values.shape[axis]) - offset, 0, values.shape[axis] - 1)
        values = np.take(values, places, axis)
    return values


def test_a_mixture_lies_between_two_rows_at_one_factor_for_all_inputs() -> None:
    random = np.random.default_rng(0)
    first, second = (
        random.normal(size=(16, 5)).astype(np.float32),
        random.normal(size=(16, 2, 3)).astype(np.float32),
    )
    mixed = _vary(Augmentation(1.0, mixed=('a', 'b')), a=first, b=second, label=np.arange(16))
    np.testing.assert_array_equal(mixed['label'], np.arange(16))
    rows = np.concatenate([first, second.reshape(16, -1)], 1).astype(np.float64)
    varied = np.concatenate([mixed['a'], mixed['b'].reshape(16, -1)], 1)
    factors = []
    for row, mixture in zip(rows, varied, strict=True):
        fits = []
        for partner in rows:
            direction = partner - row
            factor = float(direction @ (mixture - row) / max(direction @ direction, 1e-9))
            fits.append((float(np.abs(row + factor * direction - mixture).max()), factor))
        error, factor = min(fits)
        assert error < 1e-5
        assert -1e-6 <= factor <= 1 + 1e-6
        factors.append(factor)
    assert np.ptp(factors) > 0.3


def test_a_share_of_the_rows_is_varied_and_the_seed_decides_which() -> None:
    values = np.random.default_rng(0).normal(size=(400, 30, 1)).astype(np.float32)
    augmentation = Augmentation(0.25, shifted=('x',), mixed=('x',))
    varied, again, other = (_vary(augmentation, seed, x=values)['x'] for seed in (1, 1, 2))
    assert 0.15 < np.mean((varied != values).any((1, 2))) < 0.3
    np.testing.assert_array_equal(varied, again)
    assert (varied != other).any()


class _Numbers(tf.Module):
    """A table that is looked up by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(tf.random.stateless_normal((8, 4), [0, 1]), name='table')

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name='number')])
    def serve(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'score': tf.gather(self.table, number)}


def test_integers_alone_are_left_as_they_are_which_is_said_where_it_matters(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    module, folder = _Numbers(), str(tmp_path / 'saved_model')
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    graph = open_graph(folder)
    assert choose_augmentation(graph, num_examples=5000, batch_size=50, num_steps=400).share == 0
    assert '4 passes over 5000 examples; they are trained on as they are' in caplog.text
    assert 'cannot be varied' not in caplog.text
    assert choose_augmentation(graph, num_examples=100, batch_size=50, num_steps=400).share == 0
    assert "they cannot be varied ('number' holds integers)" in caplog.text


class _Lookup(tf.Module):
    """A table that is looked up by a number, and a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(tf.random.stateless_normal((8, 4), [0, 1]), name='table')
        self.matrix = tf.Variable(tf.random.stateless_normal((256, 4), [0, 2]), name='matrix')

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.float32, name='place'),
            tf.TensorSpec((None, 16, 16, 1), tf.float32, name='picture'),
        ]
    )
    def serve(self, place: tf.Tensor, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        product = tf.reshape(picture, (-1, 256)) @ self.matrix
        return {'score': tf.gather(self.table, tf.cast(place * 1.0, tf.int32)) + product}


@pytest.fixture(scope='module')
def lookup_graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    """A float input that becomes an index."""
    folder = str(tmp_path_factory.mktemp('lookup') / 'saved_model')
    module = _Lookup()
    tf.saved_model.save(module, folder, signatures={'serving_default': module.serve})
    return open_graph(folder)


def test_examples_that_are_seen_often_are_varied_as_the_inputs_allow(
    digits_saved_model: pathlib.Path, lookup_graph: ServingGraph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    graph = open_graph(str(digits_saved_model))
    chosen = choose_augmentation(graph, num_examples=100, batch_size=50, num_steps=400)
    (name,) = graph.inputs
    assert chosen == Augmentation(0.8, (), (name,))
    assert '200 passes over 100 examples; 80% of them are varied (pairs mixed) and answered' in caplog.text
    assert choose_augmentation(graph, num_examples=2000, batch_size=50, num_steps=400).share == 0
    assert choose_augmentation(graph, num_examples=0, batch_size=50, num_steps=400).share == 0
    chosen = choose_augmentation(lookup_graph, num_examples=100, batch_size=50, num_steps=400)
    assert chosen == Augmentation(0.8, ('picture',), ())
    assert "('picture' shifted by up to 10%, not mixed: 'place' holds integers)" in caplog.text


def test_a_pruned_net_is_nearer_to_the_incoming_one_where_it_was_not_trained(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    graph = open_graph(str(digits_saved_model))
    (name,) = graph.inputs
    stream = batches(graph)
    images = np.unique(np.concatenate([next(stream)[name] for _ in range(40)]), axis=0)
    images = images[np.random.default_rng(0).permutation(len(images))]
    few, others = images[:64], images[64:]

    def answers(values: dict[str, np.ndarray]) -> np.ndarray:
        replaced = {key: tf.constant(value) for key, value in values.items()}
        call = tf.function(graph.call, autograph=False)
        return call({name: tf.constant(others)}, replaced, list(graph.outputs.values()))[0].numpy()

    def distance(augmentation: str) -> float:
        options = make_options(600, augmentation=augmentation, num_examples=64)
        values = prune(graph, make_pruning(0.5, compensation='NEVER'), options, itertools.repeat({name: few}))
        return float(np.mean((answers(values) - answers({})) ** 2))

    assert distance('SHIFT_AND_MIX') < 0.7 * distance('NO_AUGMENTATION')


def test_examples_whose_labels_are_trained_on_stay_as_they_are(
    digits_saved_model: pathlib.Path, batches: Batches
) -> None:
    graph = open_graph(str(digits_saved_model))
    options = make_options(
        3, loss='BOTH', label_key='label', label_loss='sparse_categorical_crossentropy', num_examples=4
    )
    as_they_are = dataclasses.replace(options, augmentation='NO_AUGMENTATION')
    one, other = (prune(graph, make_pruning(), o, batches(graph, 'label')) for o in (options, as_they_are))
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])
