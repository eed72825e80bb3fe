"""The training loop that the three components share."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression import losses
from tfx_edge.components.core.compression.serving_graph import ServingGraph
from tfx_edge.components.core.errors import EdgeError

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_REPORTS = 10.0


@dataclasses.dataclass(frozen=True)
class FineTuningOptions:
    """How to train; the fields of `proto.FineTuning`, with its defaults filled in."""

    num_steps: int
    batch_size: int
    learning_rate: float
    optimizer: str
    loss: str
    temperature: float
    label_key: str
    label_loss: str
    train_splits: tuple[str, ...]
    seed: int
    output_kind: str


Tensors = Mapping[str, tf.Tensor]
# Computes tensors of the trained model: (inputs, names of tensors of the graph) -> tensors.
Forward = Callable[[Tensors, Sequence[str]], list[tf.Tensor]]


def fine_tune(
    graph: ServingGraph,
    forward: Forward,
    variables: Sequence[tf.Variable],
    batches: Iterator[Mapping[str, np.ndarray]],
    options: FineTuningOptions,
    *,
    before_step: Callable[[int], None] | None = None,
    describe: Callable[[], str] | None = None,
) -> None:
    """Trains variables so that `forward` comes near to the signature as it came in (or to labels).

    Args:
      graph: the incoming signature, the teacher of a distillation.
      forward: the trained model.
      variables: to train.
      batches: of `training_batches`.
      options: how to train.
      before_step: called with the number of the step, from 0, before each step and once at the end.
      describe: what a line of progress adds.

    Raises:
      EdgeError: the loss is NaN or infinite, or the labels do not fit the model.
    """
    first = next(batches)
    step = _training_step(graph, forward, variables, first, options)
    started = reported = time.monotonic()
    batch: Mapping[str, np.ndarray] = first
    for number in range(options.num_steps):
        if before_step:
            before_step(number)
        loss = step({name: tf.constant(value) for name, value in batch.items()})
        last = number + 1 == options.num_steps
        if last or time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            _require_finite(float(loss), number, options)
            details = f', {describe()}' if describe else ''
            _LOG.info('step %d of %d, loss %.5f%s', number + 1, options.num_steps, float(loss), details)
        if not last:
            batch = next(batches)
    if before_step:
        before_step(options.num_steps)
    _LOG.info('fine-tuned %d steps in %.1f s', options.num_steps, time.monotonic() - started)


def _training_step(
    graph: ServingGraph,
    forward: Forward,
    variables: Sequence[tf.Variable],
    first: Mapping[str, np.ndarray],
    options: FineTuningOptions,
) -> Callable[[Tensors], tf.Tensor]:
    targets = losses.output_targets(graph, options.output_kind, first)
    fetch = [target.tensor for target in targets]
    on_labels = _loss_on_labels(targets, options)
    optimizer = _optimizer(options)
    optimizer.build(list(variables))

    @tf.function(autograph=False)
    def step(batch: Tensors) -> tf.Tensor:
        inputs = {name: batch[name] for name in graph.inputs}
        teachers = graph.call(inputs, {}, fetch) if options.loss != 'LABELS' else []
        students = forward(inputs, fetch)
        loss = tf.constant(0.0)
        for target, teacher, student in zip(targets, teachers, students, strict=False):
            loss += losses.distillation(target, teacher, student, options.temperature)
        if on_labels:
            loss += on_labels(batch[options.label_key], students[0])
        # A gradient tape does not see the operations of an imported graph; tf.gradients does.
        gradients = tf.gradients(loss, list(variables))
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        optimizer.apply_gradients(pairs)
        return loss

    return step


def _loss_on_labels(
    targets: Sequence[losses.OutputTarget], options: FineTuningOptions
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    if options.loss == 'DISTILLATION':
        return None
    if len(targets) != 1:
        names = ', '.join(repr(target.name) for target in targets)
        raise EdgeError(
            f'FineTuning.loss {options.loss} needs a signature with one floating output (found: {names}); '
            'use DISTILLATION, or another signature_name.'
        )
    return losses.label_loss(options.label_loss, targets[0])


def _optimizer(options: FineTuningOptions) -> tf.keras.optimizers.Optimizer:
    import keras  # takes seconds; one-shot compression does without

    if keras.backend.backend() != 'tensorflow':
        raise EdgeError(
            f'Keras runs on {keras.backend.backend()}; fine-tuning needs its TensorFlow backend. '
            'Set KERAS_BACKEND=tensorflow.'
        )
    if options.optimizer == 'SGD':
        return keras.optimizers.SGD(options.learning_rate, momentum=0.9)
    return keras.optimizers.Adam(options.learning_rate)


def _require_finite(loss: float, number: int, options: FineTuningOptions) -> None:
    if not np.isfinite(loss):
        raise EdgeError(
            f'the loss is {loss} at step {number + 1}; expected a finite number. '
            f'Lower FineTuning.learning_rate (now {options.learning_rate:g}).'
        )
