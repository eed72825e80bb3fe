"""A signature of a SavedModel as one flat, differentiable graph over its variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfx_edge.components.core import float32_graph, tensorflow_internals
from tfx_edge.components.core.compression.graph import checkpoint
from tfx_edge.components.core.compression.graph.grouped_convolutions import (
    can_be_divided,
    with_groups_divided,
)
from tfx_edge.components.core.compression.graph.lifted_variables import LOOPS, lift_variable_reads
from tfx_edge.components.core.compression.graph.loaded_model import LOADED
from tfx_edge.components.core.compression.graph.unique_functions import with_unique_functions
from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.inlined_calls import with_calls_inlined
from tfx_edge.components.core.dense_function.signature_arguments import keywords, signature_tensors
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.loops.unrolling import unroll
from tfx_edge.components.core.preprocessing import rewriting
from tfx_edge.components.core.signature import Signature, whole_outputs
from tfx_edge.components.core.tensor_names import producer

# Rows of a batch, where the signature fixes no batch size.
_ROWS = 32


@dataclasses.dataclass(frozen=True)
class GraphVariable:
    """A variable that the signature reads.

    Attributes:
      key: its key in the checkpoint; the identity used throughout.
      name: the name users know, and regular expressions are searched in.
      value: as stored.
      trainable: whether it was exported as trainable, is float32, has elements, and is used by plain reads alone.
      reads: the tensors of the flat graph that hold its value.
      exported_trainable: whether it was exported as trainable.
    """

    key: str
    name: str
    value: np.ndarray
    trainable: bool
    reads: tuple[str, ...]
    exported_trainable: bool = False


class ServingGraph:
    """A signature, inlined: variables can be replaced by any function of them.

    Each weight of the flat graph is a `ReadVariableOp`; `call` imports the graph with these tensors
    replaced, so that gradients reach whatever they were computed from.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`.
      in_float32: compute in float32 what the signature computes in other floating types, as the deployed file does.
      unroll_loops: unroll loops over the steps of a sequence, as the `.tflite` file has them; loops that cannot be
        unrolled stay.

    Raises:
      EdgeError: a variable holds NaN or infinite values, or is not in the checkpoint.

    Example:
      >>> graph = ServingGraph(folder, choose_signature(folder))
      >>> [variable.name for variable in graph.variables]
      ['conv2d/kernel', 'conv2d/bias', 'dense/kernel', 'dense/bias']
    """

    def __init__(
        self,
        saved_model_dir: str,
        signature: Signature,
        *,
        in_float32: bool = False,
        unroll_loops: bool = False,
    ) -> None:
        self.folder = saved_model_dir
        self._loaded = LOADED.load(saved_model_dir, self)
        function = self._function = dense_function(self._loaded, signature)
        self.signature = signature
        self.inputs, self.outputs = signature_tensors(function, signature.inputs)
        captures = function.inputs[len(self.inputs) :]
        self._captured = {
            placeholder.name: value
            for placeholder, value in zip(captures, function.captured_inputs, strict=True)
        }
        self.graph_def = self._flat_graph(function)
        if unroll_loops:
            self.graph_def = _unrolled(self.graph_def, self.outputs.values())
        if in_float32 and float32_graph.other_types(self.graph_def):
            given = [
                node.name for node in self.graph_def.node if node.op in ('Placeholder', 'ReadVariableOp')
            ]
            self.graph_def = float32_graph.in_float32(self.graph_def, given)
        tensorflow_internals.register_functions(self.graph_def.library)
        keys = checkpoint.checkpoint_keys(saved_model_dir, self._loaded)
        self.variables = tuple(self._variables(function, keys))
        for variable in self.variables:
            _require_finite(variable)
        self._groups: dict[str, int] = {}
        self._groups = self._groups_of_convolutions()

    def call(
        self,
        inputs: Mapping[str, tf.Tensor],
        values: Mapping[str, tf.Tensor],
        fetch: Sequence[str],
        *,
        graph_def: graph_pb2.GraphDef | None = None,
        replaced: Mapping[str, tf.Tensor] | None = None,
    ) -> list[tf.Tensor]:
        """Evaluates tensors of the graph; to be called inside a `tf.function`.

        Args:
          inputs: by input name of the signature; only those that `fetch` depends on are needed.
          values: by key of a variable; variables not named keep their stored value.
          fetch: names of tensors of the graph.
          graph_def: the graph to import, made from this one; None for this one.
          replaced: further tensors of the graph to replace, by name.

        Returns:
          One tensor for each name in `fetch`.
        """
        graph_def = with_groups_divided(_needed_for(graph_def or self.graph_def, fetch), self._groups)
        present = {node.name for node in graph_def.node}
        mapping: dict[str, Any] = {**self._captured, **(replaced or {})}
        mapping.update({self.inputs[name]: tensor for name, tensor in inputs.items()})
        for variable in self.variables:
            if variable.key in values:
                mapping.update(dict.fromkeys(variable.reads, values[variable.key]))
        # The identity brings an eager tensor or variable handle into the function's own graph.
        mapping = {name: tf.identity(t) for name, t in mapping.items() if producer(name) in present}
        # A fetched tensor that is itself replaced has no node to return.
        names = [name for name in fetch if name not in mapping]
        found = dict(zip(names, tf.graph_util.import_graph_def(graph_def, mapping, names), strict=True))
        return [mapping[name] if name in mapping else found[name] for name in fetch]

    def constants(
        self,
        values: Mapping[str, tf.Tensor],
        fetch: Sequence[str],
        *,
        graph_def: graph_pb2.GraphDef | None = None,
    ) -> dict[str, tf.Tensor]:
        """Evaluates tensors that depend on no input; as `call`, but by name.

        Each call imports a part of the graph anew: what is needed for many weights is fetched at once.
        """
        return dict(zip(fetch, self.call({}, values, fetch, graph_def=graph_def), strict=True))

    def answers(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The signature's outputs with the stored values of the variables.

        Args:
          inputs: by input name, arrays of shape (rows, ...); 32 rows at once, or as many as the signature takes.

        Returns:
          By output name, arrays of shape (rows, ...); outputs without a batch dimension are left out.
        """
        function = self._function
        specs = self.signature.inputs
        keyword = keywords(function, specs)
        fixed = max((spec.shape[0] or 0 for spec in specs.values()), default=0)
        rows, size = len(next(iter(inputs.values()))), fixed or _ROWS
        whole = whole_outputs(self.signature)
        found: dict[str, list[np.ndarray]] = {n: [] for n in self.signature.outputs if n not in whole}
        for start in range(0, rows, size):
            count = min(size, rows - start)
            # Repeated rows fill up a fixed batch; what they yield is dropped.
            chosen = np.minimum(np.arange(fixed or count), count - 1) + start
            feeds = {keyword[n]: tf.constant(inputs[n][chosen], spec.dtype) for n, spec in specs.items()}
            answered = function(**feeds)
            for name, parts in found.items():
                parts.append(answered[name].numpy()[:count])
        return {name: np.concatenate(values) for name, values in found.items()}

    @property
    def grouped_convolutions(self) -> Set[str]:
        """Names of the convolutions of more than one group, which are divided where the graph is evaluated."""
        return self._groups.keys()

    @property
    def has_loops(self) -> bool:
        """Whether there is a loop in the graph itself."""
        return any(node.op in LOOPS for node in self.graph_def.node)

    def stored_values(self) -> dict[str, np.ndarray]:
        """The value of each variable as it came in, by key."""
        return {variable.key: variable.value for variable in self.variables}

    def _flat_graph(self, function: Any) -> graph_pb2.GraphDef:
        """The function's graph: only what its outputs depend on, with every variable read outside of loops.

        Preprocessing is rewritten in operators that the deployed file has.
        """
        outputs = list(self.outputs.values())
        inlined = with_calls_inlined(tensorflow_internals.inlined_graph(function), outputs)
        inlined = _needed_for(inlined, outputs)
        for node in inlined.node:
            node.attr.pop('_class', None)  # colocates it with a node that may not be there
            # A custom gradient (of swish, say) uses tensors of the function it was made in, which is not there either.
            node.attr.pop('_gradient_op_type', None)
        shapes = {id(variable.handle): variable.shape.as_proto() for variable in function.variables}
        lifted = lift_variable_reads(
            inlined,
            {
                producer(name): shapes[id(value)]
                for name, value in self._captured.items()
                if id(value) in shapes
            },
        )
        handles = {producer(name): value for name, value in self._captured.items()}
        return with_unique_functions(_needed_for(rewriting.rewritten(lifted, handles), outputs))

    def _groups_of_convolutions(self) -> dict[str, int]:
        """The number of groups of each convolution that has more than one, by name of its node."""
        names = [node.name for node in self.graph_def.node if can_be_divided(node)]
        if not names:
            return {}
        nodes = {node.name: node for node in self.graph_def.node}
        operands = [_tensor(name) for node in names for name in nodes[node].input[:2]]
        specs = {name: tf.TensorSpec(spec.shape, spec.dtype) for name, spec in self.signature.inputs.items()}
        traced = tf.function(
            lambda inputs: self.call(inputs, {}, operands), autograph=False
        ).get_concrete_function(specs)
        channels = [tensor.shape for tensor in traced.outputs]
        pairs = zip(names, channels[::2], channels[1::2], strict=True)
        counts = {
            name: source[-1] // kernel[-2]
            for name, source, kernel in pairs
            if source.rank and kernel.rank and source[-1] and kernel[-2]
        }
        return {name: count for name, count in counts.items() if count > 1}

    def _variables(self, function: Any, keys: Mapping[int, str]) -> list[GraphVariable]:
        reads, handled_elsewhere = _variable_reads(self.graph_def)
        placeholders = {id(value): producer(name) for name, value in self._captured.items()}
        variables = []
        for variable in function.variables:
            key = keys.get(id(variable.handle))
            placeholder = placeholders.get(id(variable.handle))
            if key is None or placeholder is None:
                continue
            value = variable.read_value().numpy()
            plain = placeholder not in handled_elsewhere and bool(reads.get(placeholder))
            variables.append(
                GraphVariable(
                    key=key,
                    name=variable.name.split(':')[0],
                    value=value,
                    trainable=(
                        bool(variable.trainable) and variable.dtype == tf.float32 and plain and value.size > 0
                    ),
                    reads=tuple(f'{name}:0' for name in reads.get(placeholder, ())),
                    exported_trainable=bool(variable.trainable),
                )
            )
        return variables


def _variable_reads(graph_def: graph_pb2.GraphDef) -> tuple[dict[str, list[str]], set[str]]:
    """Reads of each resource placeholder, and the placeholders used by anything but a read."""
    source: dict[str, str] = {}
    reads: dict[str, list[str]] = {}
    elsewhere: set[str] = set()
    pending = list(graph_def.node)
    for node in pending:
        if node.op == 'Placeholder':
            source[node.name] = node.name
    changed = True
    while changed:  # identities may stand before their source in the list
        changed = False
        for node in pending:
            if node.op == 'Identity' and node.name not in source and producer(node.input[0]) in source:
                source[node.name] = source[producer(node.input[0])]
                changed = True
    for node in pending:
        for name in node.input:
            if name.startswith('^') or producer(name) not in source or node.op == 'Identity':
                continue
            placeholder = source[producer(name)]
            if node.op == 'ReadVariableOp':
                reads.setdefault(placeholder, []).append(node.name)
            else:
                elsewhere.add(placeholder)
    return reads, elsewhere


def _unrolled(graph_def: graph_pb2.GraphDef, fetch: Iterable[str]) -> graph_pb2.GraphDef:
    """The graph without its loops, or as it is where they cannot be unrolled or an output is a loop's own result."""
    unrolled = unroll(graph_def)
    names = {node.name for node in unrolled.node} if unrolled is not None else set()
    if unrolled is None or not all(producer(name) in names for name in fetch):
        return graph_def
    return _needed_for(unrolled, list(fetch))


def _needed_for(graph_def: graph_pb2.GraphDef, fetch: Sequence[str]) -> graph_pb2.GraphDef:
    """The part of a graph that some of its tensors depend on."""
    nodes = {node.name: node for node in graph_def.node}
    needed = {producer(name) for name in fetch}
    pending = list(needed)
    while pending:
        for name in nodes[pending.pop()].input:
            if producer(name) not in needed:
                needed.add(producer(name))
                pending.append(producer(name))
    part = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in needed)
    return part


def _tensor(name: str) -> str:
    return name if ':' in name else f'{name}:0'


def _require_finite(variable: GraphVariable) -> None:
    if not np.issubdtype(variable.value.dtype, np.floating):
        return
    bad = int(variable.value.size - np.count_nonzero(np.isfinite(variable.value)))
    if bad:
        raise EdgeError(
            f'variable {variable.name!r} holds {bad} values that are NaN or infinite; expected finite '
            'weights. Train the model again, or restore an earlier checkpoint.'
        )
