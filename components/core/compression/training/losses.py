"""What fine-tuning minimizes: the distance to the incoming model's outputs, or a loss on labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.errors import EdgeError, NotFiniteError
from tfx_edge.components.core.examples.labels import check_classes, check_count, check_numbers
from tfx_edge.components.core.signature import whole_outputs

# How outputs are compared: as rows of probabilities, as single probabilities, by squared difference.
SOFTMAX, SIGMOID, SQUARED = 'softmax', 'sigmoid', 'squared'
_TINY = 1e-7


@dataclasses.dataclass(frozen=True)
class OutputTarget:
    """How one output is compared.

    Attributes:
      name: of the output.
      comparison: SOFTMAX, SIGMOID or SQUARED.
      tensor: the graph's tensor that is compared: the logits where the graph has them.
      is_logits: whether the tensor holds logits; otherwise it is the output itself.
      variance: what squared differences are divided by.
      values: number of values in each example.
      classes: the size of its last dimension.
    """

    name: str
    comparison: str
    tensor: str
    is_logits: bool
    variance: float = 1.0
    values: int = 1
    classes: int = 1


def output_targets(
    graph: ServingGraph, output_kind: str, first_batch: Mapping[str, np.ndarray]
) -> tuple[OutputTarget, ...]:
    """Decides how each floating output that has a row for each example is compared.

    With `output_kind` AUTO the output of a softmax or sigmoid holds probabilities, and so does one
    whose rows are not negative and sum to 1 on the first batch; anything else is compared as a
    regression, which also matches the logits of a classifier. Any other `output_kind` is taken for
    every output. Where there are several outputs, the loss of a regression is divided by its
    variance on the first batch where that is above 1, so that a price in dollars does not outweigh a class.

    Args:
      graph: the signature.
      output_kind: AUTO, PROBABILITIES, LOGITS or REGRESSION.
      first_batch: inputs by name.

    Returns:
      One target for each.

    Raises:
      EdgeError: the signature has no floating output.
      NotFiniteError: the incoming model answers NaN or infinity.
    """
    whole = whole_outputs(graph.signature)
    floating = [name for name, spec in graph.signature.outputs.items() if spec.dtype.is_floating]
    names = [name for name in floating if name not in whole]
    if not names:
        found = ', '.join(f'{n!r} ({s.dtype.name}{s.shape})' for n, s in graph.signature.outputs.items())
        raise EdgeError(
            f'signature {graph.signature.name!r} has no floating output of a row for each example to train on '
            f'(found: {found}); export one, name another in signature_name, or set num_steps to 0.'
        )
    inputs = {name: tf.constant(value) for name, value in first_batch.items() if name in graph.inputs}
    tensors = [graph.outputs[name] for name in names]
    values = tf.function(lambda: graph.call(inputs, {}, tensors), autograph=False).get_concrete_function()()
    for name, value in zip(names, values, strict=True):
        _require_finite_answers(name, value.numpy())
    targets = [
        dataclasses.replace(
            _target(graph, name, output_kind, value.numpy()),
            values=int(np.prod(value.shape[1:])),
            classes=int(value.shape[-1]) if value.shape.rank > 1 else 1,
        )
        for name, value in zip(names, values, strict=True)
    ]
    if len(targets) > 1:
        targets = [_in_units(target, value.numpy()) for target, value in zip(targets, values, strict=True)]
    return tuple(targets)


def _require_finite_answers(name: str, values: np.ndarray) -> None:
    finite = np.isfinite(values).reshape(len(values), -1).all(1)
    if not finite.all():
        raise NotFiniteError(
            f'output {name!r} of the incoming model is NaN or infinite on {np.count_nonzero(~finite)} of the first '
            f'{len(values)} examples; expected finite answers to train on. Correct the model, which divides by zero or '
            'takes a logarithm of it, say.'
        )


def distillation(
    target: OutputTarget, teacher: tf.Tensor, student: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Distance of two outputs (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531).

    Cross-entropy of the softened probabilities times the temperature squared, or the mean squared
    difference over the target's variance.

    Args:
      target: what the tensors are.
      teacher: the incoming model's tensor, of shape (batch, ...).
      student: the trained model's, of the same shape.
      temperature: above 0; 1 leaves the probabilities as they are.

    Returns:
      A scalar, the mean over the batch.
    """
    if target.comparison == SQUARED:
        return tf.reduce_mean(tf.math.squared_difference(teacher, student)) / target.variance
    if not target.is_logits:
        teacher, student = _logits(target, teacher), _logits(target, student)
    teacher, student = teacher / temperature, student / temperature
    if target.comparison == SIGMOID:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(teacher), student)
    else:
        losses = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(teacher), student)
    return tf.reduce_mean(losses) * temperature**2


def find_label_loss(name: str) -> Any:
    """What Keras has under a loss's name: a function or a Loss.

    Raises:
      EdgeError: Keras knows no loss of that name.
    """
    import keras  # takes seconds; only training on labels needs it

    try:
        return keras.losses.get(name)
    except ValueError as error:
        raise EdgeError(
            f'FineTuning.label_loss is {name!r}; expected the name of a Keras loss, such as '
            "'sparse_categorical_crossentropy'."
        ) from error


def label_loss(name: str, target: OutputTarget) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A Keras loss as a function of labels and the target's tensor.

    Cross-entropies take logits where the target has them, and where the output is linear.

    Raises:
      EdgeError: Keras knows no loss of that name.
    """
    import keras  # takes seconds; only training on labels needs it

    loss = find_label_loss(name)
    options: dict[str, Any] = {}
    if 'crossentropy' in name.lower():
        options['from_logits'] = target.is_logits or target.comparison == SQUARED
    if isinstance(loss, keras.losses.Loss):
        loss, options = type(loss)(**options), {}

    def compute(labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        if 'sparse' in name.lower():
            labels = tf.reshape(labels, tf.shape(outputs)[:-1])
        else:
            labels = tf.reshape(tf.cast(labels, outputs.dtype), tf.shape(outputs))
        return tf.reduce_mean(loss(labels, outputs, **options))

    return compute


def check_labels(name: str, label_key: str, labels: np.ndarray, target: OutputTarget) -> None:
    """Refuses labels that a loss cannot take for an output.

    Args:
      name: of the loss.
      label_key: the feature that holds the labels.
      labels: of a batch, of shape (batch, ...).
      target: the output, whose shape is known.

    Raises:
      EdgeError: there are too many or too few labels, or they are not numbers, or not classes of the output.
    """
    reader = f'FineTuning.label_loss {name!r} on output {target.name!r} of {target.values} values'
    sparse = 'sparse' in name.lower()
    if not sparse and labels.size == len(labels) and target.values > 1 and 'categorical' in name.lower():
        raise EdgeError(
            f'label {label_key!r} is one number in each example, but {reader} takes one for each class; '
            "use 'sparse_categorical_crossentropy', or labels with a number for each class."
        )
    check_count(label_key, labels, (target.values // target.classes if sparse else target.values,), reader)
    if sparse:
        check_classes(label_key, labels, target.classes, reader)
    else:
        check_numbers(label_key, labels, reader)


def _target(graph: ServingGraph, name: str, output_kind: str, value: np.ndarray) -> OutputTarget:
    output = graph.outputs[name]
    single = value.ndim < 2 or value.shape[-1] == 1
    if output_kind == 'REGRESSION':
        return OutputTarget(name, SQUARED, output, is_logits=False)
    if output_kind == 'LOGITS':
        return OutputTarget(name, SIGMOID if single else SOFTMAX, output, is_logits=True)
    nodes = {node.name: node for node in graph.graph_def.node}
    node = nodes[output.split(':')[0]]
    while node.op == 'Identity':
        node = nodes[node.input[0].split(':')[0]]
    if node.op in ('Softmax', 'Sigmoid'):
        logits = node.input[0] if ':' in node.input[0] else f'{node.input[0]}:0'
        return OutputTarget(name, SOFTMAX if node.op == 'Softmax' else SIGMOID, logits, is_logits=True)
    if output_kind == 'PROBABILITIES':
        return OutputTarget(name, SIGMOID if single else SOFTMAX, output, is_logits=False)
    rows = not single and value.min() >= 0 and bool(np.allclose(value.sum(-1), 1.0, atol=1e-4))
    return OutputTarget(name, SOFTMAX if rows else SQUARED, output, is_logits=False)


def _in_units(target: OutputTarget, value: np.ndarray) -> OutputTarget:
    """A target whose squared differences are divided by the output's variance over examples, if it is above 1."""
    variance = float(np.mean(np.var(value.astype(np.float64), axis=0)))
    if target.comparison != SQUARED or not np.isfinite(variance):
        return target
    # Not below 1, so that an output of small values does not outweigh classes.
    return dataclasses.replace(target, variance=max(variance, 1.0))


def _logits(target: OutputTarget, probabilities: tf.Tensor) -> tf.Tensor:
    probabilities = tf.clip_by_value(probabilities, _TINY, 1.0 - _TINY)
    if target.comparison == SIGMOID:
        return tf.math.log(probabilities) - tf.math.log1p(-probabilities)
    return tf.math.log(probabilities)
