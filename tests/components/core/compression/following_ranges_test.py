"""Ranges that values have left are widened, at each quarter of a training; others stay as trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.activation_quantization import (
    ActivationQuantization,
    SimulatedActivation,
)
from tfx_edge.components.core.compression.following_ranges import FollowingRanges
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph

from .conftest import open_graph

_BATCHES = [{'x': np.random.default_rng(seed).uniform(-1, 1, (64, 8)).astype(np.float32)} for seed in (0, 1)]
_STEPS = 40


class _Layers(tf.Module):
    """Products of the input with matrices: each element of `once` is one of the input's, of `twice` as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tf.Variable(np.eye(8, dtype=np.float32), name='first')
        self.second = tf.Variable(np.eye(8, dtype=np.float32), name='second')

    @tf.function(input_signature=[tf.TensorSpec((None, 8), tf.float32, name='x')])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        once = x @ self.first
        return {'once': once, 'twice': once @ self.second}


class _Training:
    """A simulation whose first matrix is `size` times the identity, and its hooks."""

    def __init__(
        self,
        graph: ServingGraph,
        ranges: dict[str, tuple[float, float]],
        size: float,
        bits: int = 8,
        batches: Sequence[Mapping[str, np.ndarray]] = _BATCHES,
    ) -> None:
        self.graph = graph
        names = {'x': graph.inputs['x'], **graph.outputs}
        activations = [SimulatedActivation(name, names[name], name, None) for name in ranges]
        self.simulated = ActivationQuantization(graph, activations, ranges, bits=bits)
        self.values = {v.key: tf.Variable(v.value) for v in graph.variables}
        next(value for key, value in self.values.items() if 'first' in key).assign(size * np.eye(8))
        self.hooks = FollowingRanges(
            self.simulated,
            activations,
            lambda: {key: tf.identity(value) for key, value in self.values.items()},
            batches,
            _STEPS,
        )


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> ServingGraph:
    module = _Layers()
    folder = str(tmp_path_factory.mktemp('layers') / 'model')
    tf.saved_model.save(module, folder, signatures={'predict': module.predict})
    return open_graph(folder)


def _span(size: float) -> tuple[float, float]:
    values = np.concatenate([batch['x'] for batch in _BATCHES])
    return size * float(values.min()), size * float(values.max())


@pytest.mark.parametrize('bits', [8, 16])
def test_a_range_that_weights_outgrew_holds_all_values_and_those_behind_it(
    graph: ServingGraph, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    calibrated = {'x': (-1.0, 1.0), 'once': (-1.0, 1.0), 'twice': (-1.0, 1.0)}
    training = _Training(graph, calibrated, 3.0, bits)
    with caplog.at_level(logging.INFO, 'tfx_edge'):
        training.hooks.before_step(_STEPS)
    ranges = training.simulated.ranges()
    assert ranges['x'] == (-1.0, 1.0)
    for name in ('once', 'twice'):
        low, high = ranges[name]
        wanted = _span(3.0) if bits == 8 else (-max(map(abs, _span(3.0))), max(map(abs, _span(3.0))))
        assert (low, high) == pytest.approx(wanted, rel=0.02)
    assert 'step 40 of 40: widened the ranges of 2 of 3 activations' in caplog.text
    assert "cut off of 'once'" in caplog.text


def test_an_end_that_was_set_to_zero_to_hold_it_moves(graph: ServingGraph) -> None:
    training = _Training(graph, {'once': (0.25, 1.0)}, 1.0)
    assert training.simulated.ranges()['once'] == (0.0, 1.0)
    training.hooks.before_step(_STEPS)
    assert training.simulated.ranges()['once'] == pytest.approx((_span(1.0)[0], 1.0), rel=1e-3)


def test_a_range_that_training_narrowed_a_little_stays(graph: ServingGraph) -> None:
    training = _Training(graph, {'once': (-1.0, 1.0)}, 1.0)
    for log in training.simulated.variables:
        log.assign(-0.05)
    trained = training.simulated.ranges()
    training.hooks.before_step(_STEPS)
    assert training.simulated.ranges() == trained


def test_ranges_are_looked_at_after_each_quarter(graph: ServingGraph) -> None:
    training = _Training(graph, {'once': (-0.1, 0.1)}, 1.0)
    widened = []
    for step in range(_STEPS + 1):
        training.hooks.before_step(step)
        if training.simulated.ranges()['once'][1] > 0.5:
            widened.append(step)
            for log in training.simulated.variables:
                log.assign(0.0)
    assert widened == [10, 20, 30, 40]


def test_a_restart_continues_with_widened_ranges(graph: ServingGraph) -> None:
    """What `fine_tune` keeps of the hooks gives the same ranges again."""
    training = _Training(graph, {'once': (-0.1, 0.1)}, 1.0)
    training.hooks.before_step(10)
    again = _Training(graph, {'once': (-0.1, 0.1)}, 1.0)
    kept = [variable.numpy() for variable in training.hooks.state]
    for variable, value in zip(again.hooks.state, kept, strict=True):
        variable.assign(value)
    assert again.simulated.ranges() == training.simulated.ranges() != {'once': (-0.1, 0.1)}


def test_many_values_at_the_ends_of_a_range_are_not_cut_off(
    graph: ServingGraph, caplog: pytest.LogCaptureFixture
) -> None:
    """The zeros of a ReLU lie at the end of its range, as the largest value does."""
    x = np.random.default_rng(2).uniform(0, 1, (64, 8)).astype(np.float32)
    x[np.random.default_rng(3).random(x.shape) < 0.9] = 0.0
    x[0, 0] = 1.0
    caplog.set_level(logging.INFO, 'tfx_edge')
    for size in np.linspace(0.3, 7.7, 40):
        _Training(graph, {'once': (0.0, size)}, size, batches=[{'x': x}]).hooks.before_step(_STEPS)
    assert 'widened' not in caplog.text


def test_what_is_missing_has_no_place_in_a_range(graph: ServingGraph) -> None:
    x = _BATCHES[0]['x'].copy()
    x[3], x[5, 2] = np.nan, np.inf
    training = _Training(graph, {'once': (-0.5, 0.5)}, 1.0, batches=[{'x': x}])
    training.hooks.before_step(_STEPS)
    low, high = training.simulated.ranges()['once']
    assert -1 <= low < -0.9
    assert 0.9 < high <= 1
