"""Gives the tensors of a file from TensorFlow's quantizer the float file's names."""

from __future__ import annotations

from tfx_edge.components.core.litert.file import flatbuffer, inserted_names

# Of the names of tensors that are converted between integer and float.
_ENDINGS = {'QUANTIZE': inserted_names.QUANTIZED, 'DEQUANTIZE': inserted_names.DEQUANTIZED}


def activations(content: flatbuffer.schema.ModelT) -> set[str]:
    """The names of all inputs and computed tensors of a model."""
    names = set()
    for graph in content.subgraphs:
        computed = [*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)]
        names |= {flatbuffer.tensor_name(graph.tensors[index]) for index in computed}
    return names


def strip_type(content: flatbuffer.schema.ModelT, floats: flatbuffer.schema.ModelT) -> None:
    """Takes off the type that the 16-bit path appends to the names of inputs and outputs.

    Args:
      content: of the quantized file; changed in place.
      floats: of the float file.
    """
    known = activations(floats)
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            name = flatbuffer.tensor_name(tensor)
            if name not in known and name.removesuffix(inserted_names.INT16) in known:
                tensor.name = name.removesuffix(inserted_names.INT16).encode()


def restore(content: flatbuffer.schema.ModelT, floats: flatbuffer.schema.ModelT) -> None:
    """Gives constants their names of the float file, and inserted tensors names made of their source's.

    What a QUANTIZE or DEQUANTIZE yields is named after what it reads: `x` becomes `x_quantized` or `x_dequant`.

    Args:
      content: of the quantized file in canonical form, whose computed tensors have their names; changed in place.
      floats: of the float file.
    """
    known = _constants(floats)
    taken = {flatbuffer.tensor_name(tensor) for graph in content.subgraphs for tensor in graph.tensors}
    for graph in content.subgraphs:
        computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
        renamed = set()
        for operator in graph.operators:
            kind = flatbuffer.operator_name(content, operator)
            if kind in _ENDINGS:
                source = flatbuffer.tensor_name(graph.tensors[operator.inputs[0]])
                _rename(graph.tensors[operator.outputs[0]], source + _ENDINGS[kind], taken)
                continue
            user = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]]) if len(operator.outputs) else ''
            for position, index in enumerate(operator.inputs):
                name = known.get((user, position))
                if name is not None and index >= 0 and index not in computed and index not in renamed:
                    renamed.add(index)
                    _rename(graph.tensors[index], name, taken)


def _constants(content: flatbuffer.schema.ModelT) -> dict[tuple[str, int], str]:
    """The name of each constant by the operator that uses it (its first output) and the position."""
    names = {}
    for graph in content.subgraphs:
        computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
        for operator in graph.operators:
            if not len(operator.outputs):
                continue
            user = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])
            for position, index in enumerate(operator.inputs):
                if index >= 0 and index not in computed:
                    names[user, position] = flatbuffer.tensor_name(graph.tensors[index])
    return names


def _rename(tensor: flatbuffer.schema.TensorT, name: str, taken: set[str]) -> None:
    old = flatbuffer.tensor_name(tensor)
    if old == name:
        return
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f'{name}_{number}'
    taken.discard(old)
    taken.add(unique)
    tensor.name = unique.encode()
