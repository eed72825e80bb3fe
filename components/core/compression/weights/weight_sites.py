"""Where a graph multiplies by weights: operation, output channels, and the scale folded in behind it."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from tfx_edge.components.core.compression.graph.graph_scopes import Scope, scopes
from tfx_edge.components.core.compression.graph.lifted_variables import FUNCTION_ATTRIBUTES
from tfx_edge.components.core.compression.graph.serving_graph import GraphVariable, ServingGraph
from tfx_edge.components.core.compression.weights.folded_scale import FoldedScale, folded_scales
from tfx_edge.components.core.compression.weights.weight_operations import (
    BATCHED_PRODUCTS,
    OPERATIONS,
    WeightOperand,
    weight_operands,
)
from tfx_edge.components.core.compression.weights.weight_path import (
    RESHAPING,
    operand_axes,
    trace_back,
    variable_axes,
)
from tfx_edge.components.core.errors import EdgeError

_LOG = logging.getLogger(__name__)
# The sites of each graph that was searched: several steps of one run ask for them.
_FOUND: weakref.WeakKeyDictionary[ServingGraph, tuple[WeightSite, ...]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class WeightSite:
    """One weight that an operation uses.

    Attributes:
      variable: the variable that holds the weight.
      op: TensorFlow's name of the operation.
      node: the operation's node; of a loop's or branch's body where the weight is used there.
      channel_axes: axes of the variable that count the channels which the deployed kernel has its scales along, unless
        there is one for all (`scale_axes`); () where the operator has one scale or is float.
      sum_axes: axes of the variable that the kernel sums over innermost (input channels); () where there is none.
      scales: what the converter folds into the weight, in order.
      fully_connected: the deployed kernel is that of a FULLY_CONNECTED.
      one_scale: the deployed kernel has one scale in all, though it has `channel_axes`; what is folded into it still
        follows these.
      uses: the sites of the single operations, where several share the variable and their kernels in the file are
        not the same: they have their scales along other axes, or something else is folded into them. () otherwise.
    """

    variable: GraphVariable
    op: str
    node: str
    channel_axes: tuple[int, ...]
    sum_axes: tuple[int, ...]
    scales: tuple[FoldedScale, ...]
    uses: tuple[WeightSite, ...] = ()
    fully_connected: bool = False
    one_scale: bool = False

    @property
    def kernels(self) -> tuple[WeightSite, ...]:
        """One site for each kernel that the file makes of the variable."""
        return self.uses or (self,)

    @property
    def scale_axes(self) -> tuple[int, ...]:
        """Axes of the variable along which the deployed kernel has its scales; () where it has one."""
        return () if self.one_scale else self.channel_axes

    @property
    def has_one_axis(self) -> bool:
        """Whether all its kernels have their scales along the same axes."""
        return len({kernel.channel_axes for kernel in self.kernels}) == 1


def find_weight_sites(graph: ServingGraph) -> tuple[WeightSite, ...]:
    """The weights of a graph and of its loops and branches, in order of their variables.

    Weights are kernels of convolutions, factors of matrix products and tables of lookups that reach their
    operation reshaped, transposed, sliced or cast at most. A variable that several operations share is one site:
    the first operation's, without folding when the others fold differently, and with one scale for all when
    they have their scales along other axes. Each other trained variable of two dimensions or more is logged.

    Raises:
      EdgeError: there is none, but there are trained variables of another type than float32.

    Example:
      >>> [(site.variable.name, site.op) for site in find_weight_sites(graph)]
      [('conv2d/kernel', 'Conv2D'), ('dense/kernel', 'MatMul')]
    """
    if graph not in _FOUND:
        uses: dict[str, list[WeightSite]] = {}
        for _, _, site in weight_uses(graph):
            uses.setdefault(site.variable.key, []).append(site)
        sites = {key: _shared(together) for key, together in uses.items()}
        for variable in graph.variables:
            if variable.exported_trainable and variable.value.ndim > 1 and variable.key not in sites:
                _report_left_out(graph, variable)
        if not sites:
            _require_float32(graph)
        ordered = [sites[v.key] for v in graph.variables if v.key in sites]
        _FOUND[graph] = tuple(_with_fitting_scales(graph, ordered))
    return _FOUND[graph]


def dynamic_nodes(graph: ServingGraph) -> set[str]:
    """Names of the nodes that depend on an input, the inputs included; all others are constant."""
    return set(next(scopes(graph.graph_def, graph.inputs.values())).dynamic)


def scale_tensors(sites: Iterable[WeightSite]) -> list[str]:
    """Names of the graph's tensors from which `channel_scale` computes the factors of some sites; of no input."""
    folded = [folded for site in sites for folded in site.scales]
    return sorted({name for each in folded for name in (each.scale, each.variance) if name})


def channel_scale(site: WeightSite, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
    """The factor that folding multiplies a site's weight by; to be called inside a `tf.function`.

    Args:
      site: a weight site.
      tensors: those of `scale_tensors`, by name, best fetched for all sites at once (`ServingGraph.constants`).

    Returns:
      A tensor that broadcasts against the weight, or None where nothing is folded.
    """
    factor = None
    for folded in site.scales:
        scale = tensors[folded.scale]
        if folded.variance:
            scale = scale * tf.math.rsqrt(tensors[folded.variance] + folded.epsilon)
        scale = tf.reshape(scale, channel_shape(site) if scale.shape.num_elements() > 1 else [])
        factor = scale if factor is None else factor * scale
    return factor


def channel_scales(
    graph: ServingGraph, sites: Sequence[WeightSite], values: Mapping[str, np.ndarray]
) -> list[np.ndarray | None]:
    """The factor that folding multiplies each site's weight by.

    Args:
      graph: of the sites.
      sites: some of its weight sites.
      values: of the graph's variables, by key; those not named keep their stored value.

    Returns:
      For each site, an array that broadcasts against the weight, or None where nothing is folded.
    """
    # Not made inside of the function: as constants of its graph, large weights would be copied several times.
    tensors = {key: tf.constant(value) for key, value in values.items()}

    def all_scales() -> list[tf.Tensor | None]:
        fetched = graph.constants(tensors, scale_tensors(sites))
        return [channel_scale(site, fetched) for site in sites]

    scales = tf.function(all_scales, autograph=False).get_concrete_function()()
    return [None if scale is None else scale.numpy() for scale in scales]


def channel_shape(site: WeightSite) -> list[int]:
    """The weight's shape with 1 for each axis that does not count output channels."""
    shape = site.variable.value.shape
    return [size if axis in site.channel_axes else 1 for axis, size in enumerate(shape)]


def weight_uses(graph: ServingGraph) -> Iterator[tuple[Scope, node_def_pb2.NodeDef, WeightSite]]:
    """Operations that combine something dynamic with a trained variable, each with its site."""
    by_read = {read: v for v in graph.variables if v.trainable for read in v.reads}
    for scope in scopes(graph.graph_def, graph.inputs.values()):
        for node in scope.nodes.values():
            if node.op not in OPERATIONS or node.name not in scope.dynamic:
                continue
            for operand in weight_operands(node):
                site = _site(scope, node, operand, by_read)
                if site is not None:
                    yield scope, node, site


def _site(
    scope: Scope, node: node_def_pb2.NodeDef, operand: WeightOperand, by_read: Mapping[str, GraphVariable]
) -> WeightSite | None:
    path = trace_back(scope, node.input[operand.position])
    if path is None or path.read not in by_read:
        return None
    variable = by_read[path.read]
    axes = operand_axes(path, variable.value.shape)
    if axes is None:
        return WeightSite(variable, node.op, node.name, (), (), ())
    channel_axes = variable_axes(axes, operand.channel_axes) or ()
    if scope.is_body and _is_gate_of_lstm(scope, node):
        channel_axes = ()
    # A product with a matrix on its right becomes FULLY_CONNECTED; one with more dimensions takes no factor.
    is_kernel = (
        not scope.is_body and bool(channel_axes) and not (node.op in BATCHED_PRODUCTS and len(axes) > 2)
    )
    in_order = len(channel_axes) == 1 or not path.transposes
    scales = folded_scales(scope, node) if operand.folds and is_kernel and in_order else ()
    return WeightSite(
        variable=variable,
        op=node.op,
        node=node.name,
        channel_axes=channel_axes,
        sum_axes=(variable_axes(axes, operand.sum_axes) or ())[-1:],
        scales=scales,
        fully_connected=operand.fully_connected and not (node.op in BATCHED_PRODUCTS and len(axes) > 2),
    )


def _with_fitting_scales(graph: ServingGraph, sites: Sequence[WeightSite]) -> Iterator[WeightSite]:
    """The sites, their scales cut off before the first that is neither one number nor one for each output channel."""
    names = scale_tensors(kernel for site in sites for kernel in site.kernels)
    traced = tf.function(lambda: graph.call({}, {}, names), autograph=False).get_concrete_function()
    shapes = dict(zip(names, (result.shape for result in traced.outputs), strict=True))

    def fitting(site: WeightSite) -> tuple[FoldedScale, ...]:
        channels = int(np.prod(channel_shape(site)))

        def fits(folded: FoldedScale) -> bool:
            shape = shapes[folded.scale]
            return shape.num_elements() == 1 or shape.num_elements() == channels == shape[-1]

        return tuple(itertools.takewhile(fits, site.scales))

    for site in sites:
        uses = tuple(dataclasses.replace(use, scales=fitting(use)) for use in site.uses)
        yield dataclasses.replace(site, scales=fitting(site), uses=uses)


def _shared(uses: Sequence[WeightSite]) -> WeightSite:
    """The one site of a variable that several operations use, made from the first operation's."""
    first = uses[0]
    different: dict[tuple[object, ...], WeightSite] = {}
    for use in uses:
        different.setdefault((use.channel_axes, use.scales), use)
    if len(different) == 1:
        return first
    one_axis = len({use.channel_axes for use in uses}) == 1
    return dataclasses.replace(
        first,
        channel_axes=first.channel_axes if one_axis else (),
        scales=(),
        uses=tuple(different.values()),
    )


def _is_gate_of_lstm(scope: Scope, node: node_def_pb2.NodeDef) -> bool:
    """Whether a product is one of the four of an LSTM's cell, which LiteRT runs as one operator, in float."""
    while len(scope.consumers[node.name]) == 1:
        node = scope.nodes[scope.consumers[node.name][0]]
        if node.op == 'Split':
            return node.attr['num_split'].i == 4
        if node.op not in ('Add', 'AddV2', 'BiasAdd', 'Identity'):
            return False
    return False


def _require_float32(graph: ServingGraph) -> None:
    """Refuses a model of which no weight is float32."""
    others = [v for v in graph.variables if v.exported_trainable and v.value.ndim > 1]
    others = [v for v in others if v.value.dtype != np.float32]
    if others:
        raise EdgeError(
            f'the weight {others[0].name!r} is {others[0].value.dtype.name}; expected float32, in which LiteRT '
            "computes. Export the model with weights of float32 (in Keras: dtype 'float32' or 'mixed_float16')."
        )


def _report_left_out(graph: ServingGraph, variable: GraphVariable) -> None:
    if variable.trainable:
        operations = sorted(set(_operations_behind(graph, variable)))
        why = f'its value goes to {", ".join(operations) or "nothing"}'
    elif not variable.value.size:
        why = 'it has no elements'
    else:
        why = 'it is used by more than reads' if variable.value.dtype == np.float32 else 'it is not float32'
    shape = 'x'.join(map(str, variable.value.shape))
    _LOG.info('%s (%s) is left as it is: %s', variable.name, shape, why)


def _operations_behind(graph: ServingGraph, variable: GraphVariable) -> Iterator[str]:
    """The operations that use a variable's value, at most reshaped."""
    for scope in scopes(graph.graph_def, graph.inputs.values()):
        for node in scope.nodes.values():
            if node.op in RESHAPING or node.op in FUNCTION_ATTRIBUTES:
                continue
            paths = (trace_back(scope, name) for name in node.input if not name.startswith('^'))
            if any(path is not None and path.read in variable.reads for path in paths):
                yield node.op
