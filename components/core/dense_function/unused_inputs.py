"""Finds the inputs of a signature that no output depends on, without loading the SavedModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from tfx_edge.components.core.dense_function.inlined_calls import CALLS
from tfx_edge.components.core.tensor_names import producer

_Functions = Mapping[str, function_pb2.FunctionDef]


def unused_inputs(meta_graph: meta_graph_pb2.MetaGraphDef, signature_name: str) -> tuple[str, ...]:
    """Names of the inputs that change no output.

    An assertion does not count as a use: an input that only an assertion reads is unused. A loop or a branch uses all
    its inputs, even those that it only passes on.

    Args:
      meta_graph: of the SavedModel.
      signature_name: one of its signatures.

    Example:
      >>> unused_inputs(read_saved_model('/models/taxi').meta_graphs[0], 'serving_default')
      ('dropoff_census_tract_xf',)
    """
    definition = meta_graph.signature_def[signature_name]
    dependencies = _Dependencies({f.signature.name: f for f in meta_graph.graph_def.library.function})
    wanted = [info.name for info in definition.outputs.values()]
    found = dependencies.of(meta_graph.graph_def.node, (), wanted)
    used = set().union(*found) if found else set()
    return tuple(
        name for name in sorted(definition.inputs) if producer(definition.inputs[name].name) not in used
    )


class _Dependencies:
    """Follows values through functions; each function is read once."""

    def __init__(self, functions: _Functions) -> None:
        self._functions = functions
        self._known: dict[str, list[frozenset[str]]] = {}

    def of(
        self, nodes: Sequence[node_def_pb2.NodeDef], arguments: Sequence[str], wanted: Sequence[str]
    ) -> list[set[str]]:
        """The arguments and placeholders that each wanted tensor depends on."""
        by_name = {node.name: node for node in nodes}
        known: dict[str, set[str]] = {name: {name} for name in arguments}
        for tensor in wanted:
            pending = [tensor]
            while pending:
                name = pending[-1]
                waiting = [other for other in self._sources(name, by_name, known) if other not in known]
                if waiting:
                    pending += waiting
                    continue
                pending.pop()
                known[name] = self._depends(name, by_name, known)
        return [known[tensor] for tensor in wanted]

    def _sources(
        self, tensor: str, nodes: Mapping[str, node_def_pb2.NodeDef], known: Mapping[str, set[str]]
    ) -> list[str]:
        if tensor in known or producer(tensor) in known:
            return []
        node = nodes[producer(tensor)]
        inputs = [name for name in node.input if not name.startswith('^')]
        called = self._called(node)
        if not called:
            return inputs
        arguments = [argument.name for argument in called.signature.input_arg]
        taken = self._results(called)[_index(tensor)]
        return [name for argument, name in zip(arguments, inputs, strict=True) if argument in taken]

    def _depends(
        self, tensor: str, nodes: Mapping[str, node_def_pb2.NodeDef], known: Mapping[str, set[str]]
    ) -> set[str]:
        if producer(tensor) in known:
            return known[producer(tensor)]
        if nodes[producer(tensor)].op in ('Placeholder', 'PlaceholderWithDefault'):
            return {producer(tensor)}
        return set().union(*(known[name] for name in self._sources(tensor, nodes, known)))

    def _called(self, node: node_def_pb2.NodeDef) -> function_pb2.FunctionDef | None:
        return self._functions.get(node.attr['f'].func.name) if node.op in CALLS else None

    def _results(self, function: function_pb2.FunctionDef) -> list[frozenset[str]]:
        name = function.signature.name
        if name not in self._known:
            arguments = [argument.name for argument in function.signature.input_arg]
            wanted = [function.ret[output.name] for output in function.signature.output_arg]
            found = self.of(function.node_def, arguments, wanted)
            self._known[name] = [frozenset(names) for names in found]
        return self._known[name]


def _index(tensor: str) -> int:
    """Which of its node's results a tensor is: 'node:1' in a graph, 'node:output:1' in a function."""
    return int(tensor.rsplit(':', 1)[1]) if ':' in tensor else 0
