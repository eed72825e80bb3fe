"""The training loop that the three components share."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training import losses
from tfx_edge.components.core.compression.training.augmentation import choose_augmentation
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.optimizer import make_optimizer, require_tensorflow_backend
from tfx_edge.components.core.compression.training.training_checkpoint import TrainingCheckpoint
from tfx_edge.components.core.compression.training.training_hooks import TrainingHooks
from tfx_edge.components.core.errors import EdgeError, NotFiniteError

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_REPORTS = 10.0


Tensors = Mapping[str, tf.Tensor]
# Computes tensors of the trained model: (inputs, names of tensors of the graph) -> tensors.
Forward = Callable[[Tensors, Sequence[str]], list[tf.Tensor]]


def fine_tune(
    graph: ServingGraph,
    forward: Forward,
    variables: Sequence[tf.Variable],
    batches: Iterator[Mapping[str, np.ndarray]],
    options: FineTuningOptions,
    hooks: TrainingHooks | None = None,
) -> None:
    """Trains variables so that the outputs of `forward` come near to those of the incoming signature (or to labels).

    Args:
      graph: the incoming signature, the teacher of a distillation.
      forward: the trained model.
      variables: to train.
      batches: of `training_batches`.
      options: how to train.
      hooks: what is done besides; None for nothing.

    Raises:
      NotFiniteError: the loss or a trained variable is NaN or infinite.
      EdgeError: the labels do not fit the model.
    """
    hooks = hooks or TrainingHooks()
    first = next(batches)
    _LOG.info('training %d variables; the first step is built, which takes a while', len(variables))
    optimizer = _optimizer(options)
    optimizer.build(list(variables))
    targets = () if options.functions.loss_fn else losses.output_targets(graph, options.output_kind, first)
    step = _training_step(graph, forward, variables, targets, options, optimizer, hooks)
    slots = [variable.value for variable in optimizer.variables]
    kept = [*variables, *slots, *hooks.state]
    checkpoint = TrainingCheckpoint(options.checkpoint_folder, kept, options.checkpoint_saved)
    begin = checkpoint.restore()
    batches = itertools.islice(itertools.chain([first], batches), begin, options.num_steps)
    started = reported = time.monotonic()
    for number, batch in zip(range(begin, options.num_steps), batches, strict=True):
        hooks.before_step(number)
        _check_labels(batch, targets, options)
        features = {name: tf.constant(value) for name, value in batch.items()}
        with options.functions.graph_faults_named():
            loss = step(features, tf.constant([options.seed, number], tf.int64))
        if number == begin:
            _LOG.info('step %d after %.1f s', number + 1, time.monotonic() - started)
        if not number:
            _require_finite_gradients(variables)
        last = number + 1 == options.num_steps
        if last or time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            _require_finite(float(loss), number, options)
            details = hooks.describe()
            separator = ', ' if details else ''
            _LOG.info(
                'step %d of %d, loss %.5f%s%s', number + 1, options.num_steps, float(loss), separator, details
            )
        checkpoint.step_done(number + 1)
    _require_finite_variables(variables, options)
    hooks.before_step(options.num_steps)
    _LOG.info('fine-tuned %d steps in %.1f s', options.num_steps - begin, time.monotonic() - started)


def _training_step(
    graph: ServingGraph,
    forward: Forward,
    variables: Sequence[tf.Variable],
    targets: Sequence[losses.OutputTarget],
    options: FineTuningOptions,
    optimizer: tf.keras.optimizers.Optimizer,
    hooks: TrainingHooks,
) -> Callable[[Tensors, tf.Tensor], tf.Tensor]:
    loss_of = _loss(graph, forward, targets, options)
    vary = _augmentation(graph, options)

    @tf.function(autograph=False)
    def step(batch: Tensors, seed: tf.Tensor) -> tf.Tensor:
        loss = loss_of(vary(batch, seed))
        # A gradient tape does not see the operations of an imported graph; tf.gradients does.
        gradients = tf.gradients(loss, list(variables))
        # The gradient of a lookup's table is IndexedSlices.
        pairs = [
            (tf.convert_to_tensor(g), v) for g, v in zip(gradients, variables, strict=True) if g is not None
        ]
        if not pairs:
            raise EdgeError(
                'the loss depends on no trained weight, so nothing can be trained; make loss_fn of the outputs in '
                '`student`, by operations that have gradients.'
            )
        hooks.observe(pairs)
        optimizer.apply_gradients(pairs)
        return loss

    return step


def _augmentation(
    graph: ServingGraph, options: FineTuningOptions
) -> Callable[[Tensors, tf.Tensor], Mapping[str, tf.Tensor]]:
    """How the examples of a step are varied: as the user's module says, or where the incoming model answers them."""
    own = options.functions
    if (
        options.augmentation == 'NO_AUGMENTATION'
        or own.augment_fn
        or own.loss_fn
        or options.loss != 'DISTILLATION'
    ):
        return own.augmented
    return choose_augmentation(
        graph,
        num_examples=options.num_examples,
        batch_size=options.batch_size,
        num_steps=options.num_steps,
    )


def _loss(
    graph: ServingGraph,
    forward: Forward,
    targets: Sequence[losses.OutputTarget],
    options: FineTuningOptions,
) -> Callable[[Tensors], tf.Tensor]:
    """The loss of a batch: the user's, or what the options say."""
    if options.functions.loss_fn:
        fetch = list(graph.outputs.values())

        def by_user(batch: Tensors) -> tf.Tensor:
            inputs = {name: batch[name] for name in graph.inputs}
            teacher, student = graph.call(inputs, {}, fetch), forward(inputs, fetch)
            outputs = [dict(zip(graph.outputs, tensors, strict=True)) for tensors in (teacher, student)]
            return options.functions.loss(batch, *outputs)

        return by_user
    fetch = [target.tensor for target in targets]
    on_labels = _loss_on_labels(targets, options)

    def by_options(batch: Tensors) -> tf.Tensor:
        inputs = {name: batch[name] for name in graph.inputs}
        # Outputs of a model in mixed precision are of half precision.
        teachers = _as_float32(graph.call(inputs, {}, fetch)) if options.loss != 'LABELS' else []
        students = _as_float32(forward(inputs, fetch))
        loss = tf.constant(0.0)
        for target, teacher, student in zip(targets, teachers, students, strict=False):
            loss += losses.distillation(target, teacher, student, options.temperature)
        if on_labels:
            loss += on_labels(batch[options.label_key], students[0])
        return loss

    return by_options


def _as_float32(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.cast(tensor, tf.float32) for tensor in tensors]


def _loss_on_labels(
    targets: Sequence[losses.OutputTarget], options: FineTuningOptions
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    if options.loss == 'DISTILLATION':
        return None
    if len(targets) != 1:
        names = ', '.join(repr(target.name) for target in targets)
        raise EdgeError(
            f'FineTuning.loss {options.loss} needs a signature with one floating output (found: {names}); '
            'use DISTILLATION, a module with a loss_fn, or another signature_name.'
        )
    return losses.label_loss(options.label_loss, targets[0])


def _check_labels(
    batch: Mapping[str, np.ndarray], targets: Sequence[losses.OutputTarget], options: FineTuningOptions
) -> None:
    """Refuses labels that a loss cannot take, before TensorFlow fails on their shape or the loss is NaN."""
    if options.loss != 'DISTILLATION' and targets:
        losses.check_labels(options.label_loss, options.label_key, batch[options.label_key], targets[0])


def _optimizer(options: FineTuningOptions) -> tf.keras.optimizers.Optimizer:
    require_tensorflow_backend()
    if options.functions.optimizer_fn:
        return options.functions.optimizer(options.num_steps)
    constant = options.num_steps * 3 // 4 if options.constant_steps is None else options.constant_steps
    return make_optimizer(
        options.optimizer,
        options.learning_rate,
        num_steps=options.num_steps,
        constant_steps=options.num_steps if options.learning_rate_schedule == 'CONSTANT' else constant,
    )


def _require_finite(loss: float, number: int, options: FineTuningOptions) -> None:
    if not np.isfinite(loss):
        raise NotFiniteError(
            f'the loss is {loss} at step {number + 1}; expected a finite number. '
            f'Lower FineTuning.learning_rate (now {options.learning_rate:g}).'
        )


def _require_finite_gradients(variables: Sequence[tf.Variable]) -> None:
    """The weights after the first step, which only a gradient that is not finite can have made NaN."""
    if not _are_finite(variables):
        raise NotFiniteError(
            'the first step made weights NaN or infinite; expected a finite gradient, which no learning rate makes. '
            'Correct what the model or the loss computes: it divides by zero, or takes a root or logarithm of it, say.'
        )


def _are_finite(variables: Sequence[tf.Variable]) -> bool:
    return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in variables)


def _require_finite_variables(variables: Sequence[tf.Variable], options: FineTuningOptions) -> None:
    """The loss may stay finite where a weight does not: a ReLU makes zero of NaN."""
    if not _are_finite(variables):
        raise NotFiniteError(
            'training made weights NaN or infinite; expected '
            f'finite numbers. Lower FineTuning.learning_rate (now {options.learning_rate:g}).'
        )
