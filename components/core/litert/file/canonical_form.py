"""One form for each graph: the same SavedModel gives the same file with every version of the converter."""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer, stable_names

# Holds the converter's version and a hash of what it read.
_CONVERSION_METADATA = b'CONVERSION_METADATA'


def canonical_form(model: bytes, nodes: Set[str]) -> bytes:
    """Gives the converter's tensors, contents and operator codes an order and names that follow from the graph alone.

    TensorFlow's converter puts constants in an order that changes from one version to the next, and writes its own
    version into the file. Here tensors stand in the order of their first use, then their contents and the operator
    codes likewise; the converter's metadata entry is left out.

    Args:
      model: bytes of a float `.tflite` file, as converted.
      nodes: the names of all nodes of the graph that was converted.

    Returns:
      A file that computes the same.

    Raises:
      EdgeError: the file is damaged.
    """
    content = flatbuffer.read(model)
    bring_into_form(content, nodes)
    return flatbuffer.write(content)


def bring_into_form(content: flatbuffer.schema.ModelT, nodes: Set[str]) -> None:
    """`canonical_form` of a parsed model.

    Args:
      content: of a file, as converted; changed in place.
      nodes: the names of all nodes of the graph that was converted.
    """
    content.metadata = [entry for entry in content.metadata or [] if entry.name != _CONVERSION_METADATA]
    for index, graph in enumerate(content.subgraphs):
        _order_tensors(content, index, graph)
    _order_operator_codes(content)
    _order_buffers(content)
    stable_names.make_stable(content, nodes)


def _order_tensors(
    content: flatbuffer.schema.ModelT, graph_index: int, graph: flatbuffer.schema.SubGraphT
) -> None:
    order = list(dict.fromkeys([*_uses(graph), *range(len(graph.tensors))]))
    place = {old: new for new, old in enumerate(order)}
    graph.tensors = [graph.tensors[old] for old in order]
    graph.inputs, graph.outputs = _moved(graph.inputs, place), _moved(graph.outputs, place)
    for operator in graph.operators:
        operator.inputs, operator.outputs = _moved(operator.inputs, place), _moved(operator.outputs, place)
        if operator.intermediates is not None:
            operator.intermediates = _moved(operator.intermediates, place)
    for signature in content.signatureDefs or []:
        if signature.subgraphIndex == graph_index:
            for entry in [*signature.inputs, *signature.outputs]:
                entry.tensorIndex = place[int(entry.tensorIndex)]


def _uses(graph: flatbuffer.schema.SubGraphT) -> Iterator[int]:
    yield from map(int, graph.inputs)
    for operator in graph.operators:
        operands = [operator.inputs, operator.outputs, operator.intermediates]
        yield from (int(i) for indices in operands if indices is not None for i in indices if i >= 0)


def _moved(indices: np.ndarray, place: dict[int, int]) -> np.ndarray:
    """The new places; -1 is an operand that is left out."""
    return np.array([place.get(int(i), -1) for i in indices], np.int32)


def _order_operator_codes(content: flatbuffer.schema.ModelT) -> None:
    operators = [operator for graph in content.subgraphs for operator in graph.operators]
    order = dict.fromkeys(int(operator.opcodeIndex) for operator in operators)
    place = {old: new for new, old in enumerate(order)}
    content.operatorCodes = [content.operatorCodes[old] for old in order]
    for operator in operators:
        operator.opcodeIndex = place[int(operator.opcodeIndex)]


def _order_buffers(content: flatbuffer.schema.ModelT) -> None:
    """Orders buffers by their first use; tensors without content in the file get buffer 0, which is empty."""
    owners = [tensor for graph in content.subgraphs for tensor in graph.tensors] + list(content.metadata)
    place = {0: 0}
    for owner in owners:
        data = content.buffers[owner.buffer].data
        if data is None or not len(data):
            owner.buffer = 0
        else:
            place.setdefault(int(owner.buffer), len(place))
    content.buffers = [content.buffers[old] for old in place]
    for owner in owners:
        owner.buffer = place[int(owner.buffer)]
