"""Hooks of the training loop: when they are called, and what a killed run keeps of them."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfx_edge.components.core.compression.training import training_checkpoint
from tfx_edge.components.core.compression.training.fine_tuning import FineTuningOptions, fine_tune
from tfx_edge.components.core.compression.training.training_hooks import Gradients, TrainingHooks

from ..conftest import Batches, make_options, open_graph

pytestmark = pytest.mark.slow


class _Recorder(TrainingHooks):
    """Records its calls, and adds up the size of one variable's gradients."""

    def __init__(self, variable: tf.Variable, last: int = -1) -> None:
        super().__init__([tf.Variable(0.0)])
        self._variable = variable
        self._last = last
        self.steps: list[int] = []

    def before_step(self, step: int) -> None:
        if step == self._last:
            raise KeyboardInterrupt
        self.steps.append(step)

    def observe(self, gradients: Gradients) -> None:
        (gradient,) = (g for g, variable in gradients if variable is self._variable)
        self.state[0].assign_add(tf.reduce_sum(tf.abs(gradient)))

    def describe(self) -> str:
        return f'{len(self.steps)} calls'


def _train(
    saved_model: pathlib.Path, batches: Batches, options: FineTuningOptions, last: int = -1
) -> _Recorder:
    graph = open_graph(str(saved_model))
    variables = {v.key: tf.Variable(v.value * 0.9) for v in graph.variables if v.trainable}
    hooks = _Recorder(next(iter(variables.values())), last)

    def forward(inputs: dict, fetch: list) -> list[tf.Tensor]:
        values = {key: tf.identity(variable) for key, variable in variables.items()}
        return graph.call(inputs, values, fetch)

    fine_tune(graph, forward, list(variables.values()), batches(graph), options, hooks)
    return hooks


def test_hooks_see_each_step_and_the_end(
    module_saved_model: pathlib.Path, batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        hooks = _train(module_saved_model, batches, make_options(3))
    assert hooks.steps == [0, 1, 2, 3]
    assert float(hooks.state[0]) > 0
    assert 'step 3 of 3' in caplog.text
    assert ', 3 calls' in caplog.text


def test_a_killed_run_goes_on_with_the_state_of_its_hooks(
    module_saved_model: pathlib.Path,
    batches: Batches,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_checkpoint, 'SECONDS_BETWEEN_CHECKPOINTS', 0.0)
    whole = _train(module_saved_model, batches, make_options(4))
    options = make_options(4, checkpoint_folder=str(tmp_path / 'state'))
    with pytest.raises(KeyboardInterrupt):
        _train(module_saved_model, batches, options, last=2)
    rest = _train(module_saved_model, batches, options)
    assert rest.steps == [2, 3, 4]
    np.testing.assert_array_equal(rest.state[0].numpy(), whole.state[0].numpy())
