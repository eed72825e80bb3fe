"""Activations and constants as the deployed file holds them: integers over trained ranges."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfx_edge.components.core import integer_types
from tfx_edge.components.core.compression.bias_quantization import (
    SimulatedBias,
    rounded_bias,
    rounded_operand,
)
from tfx_edge.components.core.compression.clipped_rows import limit_to_clipped_rows
from tfx_edge.components.core.compression.constraints.straight_through import straight_through
from tfx_edge.components.core.compression.double_rounding import TwiceRounded, cell_sizes
from tfx_edge.components.core.compression.folded_convolutions import fold
from tfx_edge.components.core.compression.graph.batch_norm_steps import with_batch_norms_in_steps
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.weights.weight_sites import channel_scale, scale_tensors
from tfx_edge.components.core.tensor_names import producer

_LOG = logging.getLogger(__name__)
_PREFIX = 'tfx_edge_activation'
_CONSTANT_PREFIX = 'tfx_edge_constant'
_BIAS_PREFIX = 'tfx_edge_bias'
_CELL_PREFIX = 'tfx_edge_cell'
# The mean of a few integers often lies halfway between two. LiteRT rounds it away from the integer 0 (True) or up
# (False).
_TIES = {'AvgPool': True, 'ResizeBilinear': False}
# They pick or move elements and compute none.
_PICKS = ('Identity', 'Reshape', 'Squeeze', 'ExpandDims', 'Transpose', 'MaxPool', 'Slice', 'StridedSlice')
# Share of a step by which such a mean is moved off the halfway point.
_NUDGE = 2.0**-10


@dataclasses.dataclass(frozen=True)
class SimulatedActivation:
    """One activation that is an integer in the deployed file.

    Attributes:
      name: of the tensor in the deployed file.
      tensor: the graph's tensor that is fake-quantized to simulate it.
      group: activations of one group share one range (in and out of a reshape, say).
      fixed: the range (min, max) where LiteRT prescribes it (softmax), else None.
    """

    name: str
    tensor: str
    group: str
    fixed: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class SimulatedConstant:
    """A constant operand that the deployed file holds as integers, with a range and one scale of its own.

    Attributes:
      name: of the tensor in the deployed file.
      tensors: the graph's tensors with its values; they depend on no input.
      bits: of its integers.
      symmetric: whether its range is symmetric about zero, as the range of every int16 tensor is.
    """

    name: str
    tensors: tuple[str, ...]
    bits: int
    symmetric: bool


class ActivationQuantization:
    """A graph with fake quantization behind some tensors, and the ranges it uses.

    A tensor becomes `FakeQuantWithMinMaxVars` of itself: the affine int8 arithmetic of Jacob et al.,
    2018 (arXiv:1712.05877), whose gradient reaches the ranges. A range is min * exp(a), max * exp(b)
    with trained a and b, so that one learning rate fits ranges of any size and zero stays inside. With 16 bits
    a range is symmetric, and one number trains it.

    Args:
      graph: the signature.
      activations: what to quantize.
      ranges: (min, max) by group, as calibrated; each is widened to hold zero.
      constants: constant operands to quantize; the range of each is that of its values at each call.
      biases: biases to round to whole steps of input scale x kernel scale.
      twice_rounded: activations that are rounded to a finer grid first.
      bits: of the activations, 8 or 16.

    Example:
      >>> simulated = ActivationQuantization(graph, activations, calibrate(graph, values, activations, batches))
      >>> simulated.call(inputs, values, [graph.outputs['output_0']])
    """

    def __init__(
        self,
        graph: ServingGraph,
        activations: Sequence[SimulatedActivation],
        ranges: Mapping[str, tuple[float, float]],
        constants: Sequence[SimulatedConstant] = (),
        biases: Sequence[SimulatedBias] = (),
        twice_rounded: Sequence[TwiceRounded] = (),
        *,
        bits: int = 8,
    ) -> None:
        self._graph = graph
        self._bits = bits
        self._groups = {a.group: a.fixed for a in activations}
        self._range_names = {
            group: f'{_PREFIX}_range_{index}' for index, group in enumerate(sorted(self._groups))
        }
        self._initial = {
            group: _with_zero(*(fixed or ranges[group])) for group, fixed in self._groups.items()
        }
        if bits == 16:
            self._initial = {
                group: _symmetric(*limits, fixed=self._groups[group] is not None)
                for group, limits in self._initial.items()
            }
        self._logs = {
            group: (tf.Variable(0.0), tf.Variable(0.0)) if bits == 8 else (tf.Variable(0.0),) * 2
            for group in sorted(self._groups)
            if self._groups[group] is None
        }
        # Where an end lies after `widen` that was set to 0 to hold it: no factor moves that. An end whose values were 0
        # is that of a ReLU, whose values do not pass it.
        self._moved = {
            (group, end): tf.Variable(0.0, trainable=False)
            for group in self._logs
            for end in (0, 1)
            if not self._initial[group][end] and ranges[group][end]
        }
        self._constants = {tensor: constant for constant in constants for tensor in constant.tensors}
        self._renamed: dict[str, str] = {}
        self._steps = with_batch_norms_in_steps(graph.graph_def)
        self._graph_def = graph_pb2.GraphDef()
        self._graph_def.CopyFrom(self._steps)
        self._nodes = {node.name: node for node in self._steps.node}
        self._cells = {activation.tensor: activation for activation in twice_rounded}
        self._biases = tuple(biases)
        kernels = [activation.kernel.site for activation in twice_rounded]
        self._fetched = list(
            dict.fromkeys(
                [
                    *self._constants,
                    *(name for bias in self._biases for name in bias.tensors),
                    *scale_tensors(kernels),
                ]
            )
        )
        self._kernels: dict[int, str] = {}
        for index, bias in enumerate(self._biases):
            self._take_bias(index, bias)
        # Ranges of tensors that are moved a little before they are rounded.
        self._nudging: set[str] = set()
        # What each quantized tensor is made of.
        self._before: dict[str, str] = {}
        self._group_of = {a.tensor: a.group for a in activations}
        for index, (tensor, group) in enumerate(self._group_of.items()):
            self._insert(tensor, f'{_PREFIX}_{index}', self._range_names[group])
        for name in self._range_names.values():
            for bound in ('min', 'max', *(('nudge', 'middle') if name in self._nudging else ())):
                self._add_placeholder(f'{name}_{bound}')
        for index, tensor in enumerate(self._constants):
            self._rewire(tensor, f'{_CONSTANT_PREFIX}_{index}')
            self._add_placeholder(f'{_CONSTANT_PREFIX}_{index}')
        limit_to_clipped_rows(self._graph_def, {producer(name) for name in graph.inputs.values()})

    @property
    def variables(self) -> list[tf.Variable]:
        """The logarithms that train the ranges."""
        return list({id(v): v for pair in self._logs.values() for v in pair}.values())

    @property
    def inputs(self) -> list[str]:
        """Names of the signature's inputs."""
        return list(self._graph.inputs)

    @property
    def state(self) -> list[tf.Variable]:
        """All that makes the ranges what they are: `variables`, and what only `widen` changes."""
        return [*self.variables, *self._moved.values()]

    def widen(self, limits: Mapping[str, tuple[float, float]]) -> None:
        """Lets ranges hold what they do not hold yet; they are trained on from there.

        Args:
          limits: (min, max) by group, of groups whose range is not fixed.
        """
        before = self.ranges()
        for group, (low, high) in limits.items():
            wider = min(low, before[group][0]), max(high, before[group][1])
            if self._bits == 16:
                wider = _symmetric(*wider, fixed=False)
            for end, (log, initial) in enumerate(zip(self._logs[group], self._initial[group], strict=True)):
                if initial:
                    log.assign(np.log(wider[end] / initial))
                elif (group, end) in self._moved:
                    self._moved[group, end].assign(wider[end])

    def call(
        self, inputs: Mapping[str, tf.Tensor], values: Mapping[str, tf.Tensor], fetch: Sequence[str]
    ) -> list[tf.Tensor]:
        """`ServingGraph.call` with the activations quantized; quantized tensors are fetched quantized."""
        names = [self._renamed.get(name, name) for name in fetch]
        replaced = self._replaced(values)
        return self._graph.call(inputs, values, names, graph_def=self._graph_def, replaced=replaced)

    def before_rounding(
        self, inputs: Mapping[str, tf.Tensor], values: Mapping[str, tf.Tensor], tensors: Sequence[str]
    ) -> list[tf.Tensor]:
        """Quantized tensors as they are before their own rounding; all before them are rounded."""
        names = [self._before[tensor] for tensor in tensors]
        replaced = self._replaced(values)
        return self._graph.call(inputs, values, names, graph_def=self._graph_def, replaced=replaced)

    def call_locally(
        self,
        inputs: Mapping[str, tf.Tensor],
        values: Mapping[str, tf.Tensor],
        known: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Each quantized tensor, computed from given values of the quantized tensors before it.

        So what one operator adds to a difference is kept apart from what it was given.

        Args:
          inputs: by input name of the signature.
          values: of variables, by key.
          known: values of quantized tensors, by name of the graph's tensor.

        Returns:
          By name of the graph's tensor, the quantized values.
        """
        tensors = list(self._before)
        replaced = self._replaced(values)
        replaced.update({self._renamed[tensor]: value for tensor, value in known.items()})
        names = [self._before[tensor] for tensor in tensors]
        found = self._graph.call(inputs, values, names, graph_def=self._graph_def, replaced=replaced)
        return {
            tensor: tf.quantization.fake_quant_with_min_max_vars(
                value,
                *(replaced[f'{self._range_names[self._group_of[tensor]]}_{end}:0'] for end in ('min', 'max')),
                num_bits=self._bits,
                narrow_range=self._bits == 16,
            )
            for tensor, value in zip(tensors, found, strict=True)
        }

    def step(self, tensor: str) -> float:
        """Real size of a step of a quantized tensor."""
        return float(self._step(*self._range(self._group_of[tensor])))

    def _replaced(self, values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The values of the placeholders that were added to the graph, by tensor name."""
        ranges = {group: self._range(group) for group in self._groups}
        steps = {group: self._step(*ends) for group, ends in ranges.items()}
        replaced = self._replaced_ranges(ranges, steps)
        tensors = self._graph.constants(values, self._fetched, graph_def=self._steps)
        for index, (tensor, constant) in enumerate(self._constants.items()):
            replaced[f'{_CONSTANT_PREFIX}_{index}:0'] = _quantized(tensors[tensor], constant)
        for index, bias in enumerate(self._biases):
            rounded = rounded_bias if index in self._kernels else rounded_operand
            replaced[f'{_BIAS_PREFIX}_{index}:0'] = rounded(bias, tensors, values, steps[bias.group])
        for index, name in self._kernels.items():
            site = self._biases[index].kernel.site
            replaced[f'{name}:0'] = values[site.variable.key] * channel_scale(site, tensors)
        for index, twice in enumerate(self._cells.values()):
            cells = cell_sizes(twice.kernel, tensors, values, steps[twice.source], steps[twice.group])
            replaced[f'{_CELL_PREFIX}_{index}:0'] = cells
        return replaced

    def _replaced_ranges(
        self, ranges: Mapping[str, tuple[tf.Tensor, tf.Tensor]], steps: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The values of the placeholders of each range."""
        replaced = {}
        lowest = integer_types.BOUNDS['INT8'][0]
        for group, (low, high) in ranges.items():
            name, step = self._range_names[group], steps[group]
            replaced[f'{name}_min:0'] = low
            replaced[f'{name}_max:0'] = high
            if name in self._nudging:
                replaced[f'{name}_nudge:0'] = step * _NUDGE
                # The real number that the integer 0 stands for.
                middle = tf.round(tf.stop_gradient(low) / step) * step - lowest * step
                replaced[f'{name}_middle:0'] = middle
        return replaced

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
            low = self._moved[group, 0] if (group, 0) in self._moved else low * tf.exp(shrink_low)
            high = self._moved[group, 1] if (group, 1) in self._moved else high * tf.exp(shrink_high)
        return low, high

    def _step(self, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        # int16 has no -32768.
        steps = integer_types.steps(8) if self._bits == 8 else integer_types.narrow_steps(self._bits)
        return tf.stop_gradient(high - low) / steps

    def _insert(self, tensor: str, name: str, range_name: str) -> None:
        """Puts a fake quantization behind a tensor, for all that use it."""
        self._rewire(tensor, name)
        original = tensor
        self._renamed[tensor] = f'{name}:0'
        op = self._nodes[producer(tensor)].op
        if tensor in self._cells:
            cells = f'{_CELL_PREFIX}_{list(self._cells).index(tensor)}'
            self._add_placeholder(cells)
            tensor = self._rounded_to_cells(tensor, name, cells)
            # LiteRT's second rounding rounds a half up.
            tensor = self._nudged(tensor, name, range_name, away_from_zero=False)
        elif op in _TIES and self._bits == 8:
            tensor = self._nudged(tensor, name, range_name, away_from_zero=_TIES[op])
        self._before[original] = tensor if ':' in tensor else f'{tensor}:0'
        if self._is_quantized(original):
            node = self._graph_def.node.add(op='Identity', name=name, input=[tensor])
            node.attr['T'].type = tf.float32.as_datatype_enum
            return
        node = self._graph_def.node.add(op='FakeQuantWithMinMaxVars', name=name)
        node.input.extend([tensor, f'{range_name}_min', f'{range_name}_max'])
        node.attr['num_bits'].i = self._bits
        # int16 has no -32768.
        node.attr['narrow_range'].b = self._bits == 16

    def _is_quantized(self, tensor: str) -> bool:
        """Whether a tensor consists of elements of one that is quantized with the same range."""
        node = self._nodes[producer(tensor)]
        if node.op not in _PICKS:
            return False
        source = node.input[0] if ':' in node.input[0] else f'{node.input[0]}:0'
        return self._group_of.get(source) == self._group_of[tensor]

    def _take_bias(self, index: int, bias: SimulatedBias) -> None:
        """Rounds a bias, as one sum behind a folded kernel where the graph allows that."""
        name = f'{_BIAS_PREFIX}_{index}'
        kernel = f'{name}_kernel'
        if fold(self._graph, self._graph_def, bias, kernel, name):
            self._kernels[index] = kernel
            self._add_placeholder(kernel)
            self._add_placeholder(name)
        else:
            self._take_operand(bias, name)

    def _take_operand(self, bias: SimulatedBias, name: str) -> None:
        """Lets the last addition behind a kernel add a rounded operand."""
        (node,) = (node for node in self._graph_def.node if node.name == bias.node)
        spellings = (bias.operand, bias.operand.removesuffix(':0'))
        (place,) = (index for index, used in enumerate(node.input) if used in spellings)
        node.input[place] = name
        self._add_placeholder(name)

    def _nudged(self, tensor: str, name: str, range_name: str, *, away_from_zero: bool) -> str:
        """A mean of integers moved a little, so that a half is rounded to where LiteRT rounds it."""
        self._nudging.add(range_name)
        nudge = f'{range_name}_nudge'
        steps: list[tuple[str, ...]] = []
        if away_from_zero:
            steps = [
                ('Sub', f'{name}_offset', tensor, f'{range_name}_middle'),
                ('Sign', f'{name}_sign', f'{name}_offset'),
                ('Mul', f'{name}_nudge', f'{name}_sign', nudge),
            ]
            nudge = f'{name}_nudge'
        self._add_steps([*steps, ('AddV2', f'{name}_nudged', tensor, nudge)])
        return f'{name}_nudged'

    def _rounded_to_cells(self, tensor: str, name: str, cells: str) -> str:
        """A tensor rounded to whole cells, whose size differs by channel; the gradient passes unchanged."""
        half = self._graph_def.node.add(op='Const', name=f'{name}_half')
        half.attr['dtype'].type = tf.float32.as_datatype_enum
        half.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(0.5))
        self._add_steps(
            [
                ('RealDiv', f'{name}_in_cells', tensor, cells),
                ('AddV2', f'{name}_plus_half', f'{name}_in_cells', f'{name}_half'),
                ('Floor', f'{name}_whole', f'{name}_plus_half'),
                ('Mul', f'{name}_grid', f'{name}_whole', cells),
                ('Sub', f'{name}_moved_by', f'{name}_grid', tensor),
                ('StopGradient', f'{name}_no_gradient', f'{name}_moved_by'),
                ('AddV2', f'{name}_in_whole_cells', tensor, f'{name}_no_gradient'),
            ]
        )
        return f'{name}_in_whole_cells'

    def _add_steps(self, steps: Sequence[tuple[str, ...]]) -> None:
        for op, result, *inputs in steps:
            node = self._graph_def.node.add(op=op, name=result, input=inputs)
            node.attr['T'].type = tf.float32.as_datatype_enum

    def _rewire(self, tensor: str, name: str) -> None:
        """Replaces a tensor by another in all nodes that use it."""
        source, _, output = tensor.partition(':')
        spellings = {tensor, source} if output == '0' else {tensor}
        for node in self._graph_def.node:
            for index, used in enumerate(node.input):
                if used in spellings:
                    node.input[index] = name

    def _add_placeholder(self, name: str) -> None:
        node = self._graph_def.node.add(op='Placeholder', name=name)
        node.attr['dtype'].type = tf.float32.as_datatype_enum


def calibrate(
    graph: ServingGraph,
    values: Mapping[str, np.ndarray],
    activations: Sequence[SimulatedActivation],
    batches: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each group over some batches.

    A group takes the range of the activation that it is named after. Where that activation is not simulated, it
    takes the range over all its activations.

    Args:
      graph: the signature.
      values: of its variables, by key.
      activations: what to observe.
      batches: inputs by name; at least one.

    Returns:
      (min, max) by group.
    """
    observed = observed_activations(activations)
    tensors = [a.tensor for a in observed]
    _LOG.info('measuring the ranges of %d activations', len(tensors))
    graph_def = with_batch_norms_in_steps(graph.graph_def)
    # Made inside, they would be copied into the graph, and again by what optimizes it.
    constants = {key: tf.constant(value) for key, value in values.items()}

    @tf.function(autograph=False, reduce_retracing=True)
    def extremes(inputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        found = graph.call(inputs, constants, tensors, graph_def=graph_def)
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


def observed_activations(activations: Sequence[SimulatedActivation]) -> list[SimulatedActivation]:
    """Those whose values decide the range of their group: see `calibrate`."""
    leaders = [a for a in activations if a.name == a.group]
    led = {a.group for a in leaders}
    return leaders + [a for a in activations if a.group not in led]


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """A range widened to hold zero, which affine quantization represents exactly, and to be wider than 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > 1e-6 else (low, low + 1e-6)


def _symmetric(low: float, high: float, *, fixed: bool) -> tuple[float, float]:
    # A fixed range spans all integers, one more below zero than above: its upper end is that of 32767.
    largest = high if fixed else max(-low, high)
    return -largest, largest


def _quantized(value: tf.Tensor, constant: SimulatedConstant) -> tf.Tensor:
    """A constant rounded over its own range, whose ends the gradient does not reach."""
    given = tf.stop_gradient(value)
    low = tf.minimum(tf.reduce_min(given), 0.0)
    high = tf.maximum(tf.reduce_max(given), 0.0)
    if constant.symmetric:
        high = tf.maximum(-low, high)
        low = -high
    high = tf.maximum(high, low + 1e-9)
    rounded = tf.quantization.fake_quant_with_min_max_vars(
        given, low, high, num_bits=constant.bits, narrow_range=constant.symmetric
    )
    return straight_through(value, tf.stop_gradient(rounded))
