"""Variations of the training examples that need no knowledge of what they are: the incoming model answers them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning_options import MOST_PASSES
from tfx_edge.components.core.tensor_names import producer

_LOG = logging.getLogger(__name__)
# Of the size of an axis.
_LARGEST_SHIFT = 0.1

Tensors = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Shifts examples and mixes them in pairs, to match the incoming model where few examples alone would not.

    A model that is trained to answer as another on few examples learns these by heart. The other model can be asked
    about any input: what it answers to an example that was moved a little, or to a mixture of two, is one more example
    of its function (Beyer et al., 2022, arXiv:2106.05237; mixtures: Zhang et al., 2018, arXiv:1710.09412).

    Attributes:
      share: of the examples of a batch that are varied, 0 to 1.
      shifted: inputs that are moved along their axes but the first and the last, by up to a tenth of each; the values
        at the edge are repeated.
      mixed: inputs that are mixed, all by one factor between 0 and 1 that is drawn for each pair.

    Example:
      >>> vary = Augmentation(0.9, shifted=('image',), mixed=('image',))
      >>> vary({'image': tf.zeros((64, 32, 32, 1))}, tf.constant([0, 7]))['image'].shape
      TensorShape([64, 32, 32, 1])
    """

    share: float
    shifted: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()

    def __call__(self, features: Tensors, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The examples of a batch, a share of them varied.

        Args:
          features: tensors of shape (batch, ...) by name; those that are not named stay as they are.
          seed: two integers that decide all that is drawn.

        Returns:
          Tensors of the shapes and dtypes that came in.
        """
        if not self.share or not (self.shifted or self.mixed):
            return dict(features)
        rows = tf.shape(features[(self.shifted or self.mixed)[0]])[0]
        seeds = tf.random.experimental.stateless_split(seed, 3 + len(self.shifted))
        varied = dict(features)
        for name, own in zip(self.shifted, tf.unstack(seeds[3:], num=len(self.shifted)), strict=True):
            varied[name] = _shifted(varied[name], own)
        factor = tf.random.stateless_uniform([rows], seeds[0])
        partner = tf.argsort(tf.random.stateless_uniform([rows], seeds[1]), stable=True)
        for name in self.mixed:
            own_share = _for_each_row(factor, varied[name])
            varied[name] = own_share * varied[name] + (1 - own_share) * tf.gather(varied[name], partner)
        is_varied = tf.random.stateless_uniform([rows], seeds[2]) < self.share
        for name in dict.fromkeys((*self.shifted, *self.mixed)):
            varied[name] = tf.where(_for_each_row(is_varied, varied[name]), varied[name], features[name])
        return varied


def choose_augmentation(
    graph: ServingGraph, *, num_examples: int, batch_size: int, num_steps: int
) -> Augmentation:
    """How examples are varied when nothing but the model is known, and says so in one line.

    Inputs of three dimensions and more are shifted (pictures, spectra, series of vectors), by whole elements. Examples
    are mixed when all inputs are floating and none is made an integer by the graph, as an index would be.

    Args:
      graph: the signature.
      num_examples: to train on; 0 when there are more than were counted.
      batch_size: examples in a step.
      num_steps: of the training.

    Returns:
      The augmentation; one with share 0 where no example is seen often.
    """
    if not num_examples:
        return Augmentation(0.0)
    passes = num_steps * batch_size / num_examples
    specs = graph.signature.inputs
    shifted = tuple(name for name in graph.inputs if _can_shift(specs[name].shape))
    discrete = _discrete_inputs(graph)
    mixed = () if discrete else tuple(graph.inputs)
    share = max(0.0, 1.0 - MOST_PASSES / passes)
    _LOG.info('%.0f passes over %d examples; %s', passes, num_examples, _described(share, shifted, discrete))
    return Augmentation(share if shifted or mixed else 0.0, shifted, mixed)


def _can_shift(shape: Sequence[int | None]) -> bool:
    """Whether a tenth of an axis between the first and the last is an element or more."""
    return any(size is None or size * _LARGEST_SHIFT >= 1 for size in shape[1:-1])


def _described(share: float, shifted: Sequence[str], discrete: Sequence[str]) -> str:
    names = ' and '.join(repr(name) for name in shifted)
    numbers = ' and '.join(repr(name) for name in discrete)
    if not share:
        return 'they are trained on as they are'
    if not shifted and discrete:
        return f'they cannot be varied ({numbers} holds integers): check the result on examples it was not trained on'
    does = [f'{names} shifted by up to {_LARGEST_SHIFT:.0%}'] if shifted else []
    does += [f'not mixed: {numbers} holds integers' if discrete else 'pairs mixed']
    return (
        f'{share:.0%} of them are varied ({", ".join(does)}) and answered by the incoming model '
        '(FineTuning.augmentation)'
    )


def _discrete_inputs(graph: ServingGraph) -> tuple[str, ...]:
    """Inputs that are not floating, or that the graph makes integers of."""
    return tuple(
        name
        for name, tensor in graph.inputs.items()
        if not graph.signature.inputs[name].dtype.is_floating or _becomes_integer(graph, producer(tensor))
    )


def _becomes_integer(graph: ServingGraph, source: str) -> bool:
    """Whether a cast to an integer type follows the node, before anything is multiplied by a weight."""
    weights = {producer(read) for variable in graph.variables for read in variable.reads}
    consumers: dict[str, list[node_def_pb2.NodeDef]] = {}
    for node in graph.graph_def.node:
        for name in {producer(tensor) for tensor in node.input}:
            consumers.setdefault(name, []).append(node)
    waiting, reached = [source], {source}
    while waiting:
        for node in consumers.get(waiting.pop(), ()):
            if node.op == 'Cast' and tf.as_dtype(node.attr['DstT'].type).is_integer:
                return True
            if node.name not in reached and not weights & {producer(tensor) for tensor in node.input}:
                reached.add(node.name)
                waiting.append(node.name)
    return False


def _shifted(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Each row moved along each axis between the first and the last by a number of its own."""
    axes = range(1, values.shape.rank - 1)
    seeds = tf.random.experimental.stateless_split(seed, len(axes))
    for axis, own in zip(axes, tf.unstack(seeds, num=len(axes)), strict=True):
        rows, size = tf.shape(values)[0], tf.shape(values)[axis]
        farthest = tf.cast(tf.cast(size, tf.float32) * _LARGEST_SHIFT, tf.int32)
        offsets = tf.random.stateless_uniform([rows], own, -farthest, farthest + 1, tf.int32)
        places = tf.clip_by_value(tf.range(size)[tf.newaxis] - offsets[:, tf.newaxis], 0, size - 1)
        # Rows and the axis come first, to be gathered together.
        order = [0, axis, *(other for other in range(1, values.shape.rank) if other != axis)]
        gathered = tf.gather(tf.transpose(values, order), places, axis=1, batch_dims=1)
        values = tf.transpose(gathered, [order.index(position) for position in range(len(order))])
    return values


def _for_each_row(numbers: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """One number for each row, of a shape and type that is broadcast over `like`."""
    shaped = tf.reshape(numbers, [-1, *([1] * (like.shape.rank - 1))])
    return shaped if numbers.dtype == tf.bool else tf.cast(shaped, like.dtype)
