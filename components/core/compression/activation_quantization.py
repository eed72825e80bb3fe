"""Activations as the deployed file holds them: eight-bit integers over trained ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph

_PREFIX = 'tfx_edge_activation'


@dataclasses.dataclass(frozen=True)
class SimulatedActivation:
    """One activation that is an integer in the deployed file.

    Attributes:
      name: of the tensor in the deployed file.
      tensor: of the graph, by which it is simulated.
      group: activations of one group share one range (in and out of a reshape, say).
      fixed: the range where the arithmetic sets it (softmax), else None.
    """

    name: str
    tensor: str
    group: str
    fixed: tuple[float, float] | None


class ActivationQuantization:
    """A graph with fake quantization behind some tensors, and the ranges it uses.

    A tensor becomes `FakeQuantWithMinMaxVars` of itself: the affine int8 arithmetic of Jacob et al.,
    2018 (arXiv:1712.05877), whose gradient reaches the ranges. A range is min * exp(a), max * exp(b)
    with trained a and b, so that one learning rate fits ranges of any size and zero stays inside.

    Args:
      graph: the signature.
      activations: what to quantize.
      ranges: (min, max) by group, as calibrated; each is widened to hold zero.

    Example:
      >>> simulated = ActivationQuantization(graph, activations, calibrate(graph, values, activations, batches))
      >>> simulated.call(inputs, values, [graph.outputs['output_0']])
    """

    def __init__(
        self,
        graph: ServingGraph,
        activations: Sequence[SimulatedActivation],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self._graph = graph
        self._groups = {a.group: a.fixed for a in activations}
        self._initial = {
            group: _with_zero(*(fixed or ranges[group])) for group, fixed in self._groups.items()
        }
        self._logs = {
            group: (tf.Variable(0.0), tf.Variable(0.0))
            for group in sorted(self._groups)
            if self._groups[group] is None
        }
        self._renamed: dict[str, str] = {}
        self._graph_def = graph_pb2.GraphDef()
        self._graph_def.CopyFrom(graph.graph_def)
        for index, (tensor, group) in enumerate({a.tensor: a.group for a in activations}.items()):
            self._insert(tensor, f'{_PREFIX}_{index}', self._range_name(group))
        for group in self._groups:
            for bound in ('min', 'max'):
                node = self._graph_def.node.add(op='Placeholder', name=f'{self._range_name(group)}_{bound}')
                node.attr['dtype'].type = tf.float32.as_datatype_enum

    @property
    def variables(self) -> list[tf.Variable]:
        """The logarithms that train the ranges."""
        return [variable for pair in self._logs.values() for variable in pair]

    def call(
        self, inputs: Mapping[str, tf.Tensor], values: Mapping[str, tf.Tensor], fetch: Sequence[str]
    ) -> list[tf.Tensor]:
        """`ServingGraph.call` with the activations quantized; quantized tensors are fetched quantized."""
        replaced = {}
        for group in self._groups:
            low, high = self._range(group)
            replaced[f'{self._range_name(group)}_min:0'] = low
            replaced[f'{self._range_name(group)}_max:0'] = high
        names = [self._renamed.get(name, name) for name in fetch]
        return self._graph.call(inputs, values, names, graph_def=self._graph_def, replaced=replaced)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each group as trained."""
        return {
            group: (float(low), float(high))
            for group in sorted(self._groups)
            for low, high in [self._range(group)]
        }

    def _range(self, group: str) -> tuple[tf.Tensor, tf.Tensor]:
        low, high = (tf.constant(bound, tf.float32) for bound in self._initial[group])
        if group in self._logs:
            shrink_low, shrink_high = self._logs[group]
            low, high = low * tf.exp(shrink_low), high * tf.exp(shrink_high)
        return low, high

    def _range_name(self, group: str) -> str:
        return f'{_PREFIX}_range_{sorted(self._groups).index(group)}'

    def _insert(self, tensor: str, name: str, range_name: str) -> None:
        """Puts a fake quantization behind a tensor, for all that use it."""
        producer, _, output = tensor.partition(':')
        spellings = {tensor, producer} if output == '0' else {tensor}
        for node in self._graph_def.node:
            for index, used in enumerate(node.input):
                if used in spellings:
                    node.input[index] = name
        node = self._graph_def.node.add(op='FakeQuantWithMinMaxVars', name=name)
        node.input.extend([tensor, f'{range_name}_min', f'{range_name}_max'])
        node.attr['num_bits'].i = 8
        node.attr['narrow_range'].b = False
        self._renamed[tensor] = f'{name}:0'


def calibrate(
    graph: ServingGraph,
    values: Mapping[str, np.ndarray],
    activations: Sequence[SimulatedActivation],
    batches: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each group over some batches.

    A group takes the range of the activation it is named after, where that one is simulated, and of all
    its activations elsewhere.

    Args:
      graph: the signature.
      values: of its variables, by key.
      activations: what to observe.
      batches: inputs by name; at least one.

    Returns:
      (min, max) by group.
    """
    leaders = [a for a in activations if a.name == a.group]
    led = {a.group for a in leaders}
    observed = leaders + [a for a in activations if a.group not in led]
    tensors = [a.tensor for a in observed]

    @tf.function(autograph=False, reduce_retracing=True)
    def extremes(inputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        constants = {key: tf.constant(value) for key, value in values.items()}
        found = graph.call(inputs, constants, tensors)
        return tf.stack([tf.reduce_min(t) for t in found]), tf.stack([tf.reduce_max(t) for t in found])

    lows, highs = [], []
    for batch in batches:
        low, high = extremes({name: tf.constant(batch[name]) for name in graph.inputs})
        lows.append(low.numpy())
        highs.append(high.numpy())
    ranges: dict[str, tuple[float, float]] = {}
    for a, low, high in zip(observed, np.min(lows, 0), np.max(highs, 0), strict=True):
        before = ranges.get(a.group, (float(low), float(high)))
        ranges[a.group] = (min(before[0], float(low)), max(before[1], float(high)))
    return ranges


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """Affine quantization represents zero exactly, so a range has to hold it, and not be empty."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > 1e-6 else (low, low + 1e-6)
