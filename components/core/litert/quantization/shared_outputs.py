"""Outputs that operators read too, or that the signature has twice, kept apart while litert-quantizer works.

`{p, class: argmax(p)}` has such an output. litert-quantizer keeps one list of who reads a tensor, with -1 for the
model's outputs; where it puts a DEQUANTIZE behind the tensor for an operator, it also moves the output, and takes -1
for the last operator of the list. The file then has outputs of another type than was asked for, or with the
values of another tensor. So each output of that kind gets a tensor of its own here, behind an operator that copies it
and stays float; in the quantized file the copy is taken out again.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.litert.file import flatbuffer, inserted_names
from tfx_edge.components.core.litert.file.model_file import ModelFile

_schema = flatbuffer.schema
# One input and one output of the same shape, no options, any rank; its result is never used.
_COPY = _schema.BuiltinOperator.FLOOR


def shared_outputs(content: flatbuffer.schema.ModelT) -> list[str]:
    """Names of the float outputs that operators read too, or that stand in the signature twice."""
    graph = content.subgraphs[0]
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    entries = [int(entry.tensorIndex) for entry in content.signatureDefs[0].outputs]
    shared = [index for index in dict.fromkeys(entries) if index in read or entries.count(index) > 1]
    return [
        flatbuffer.tensor_name(graph.tensors[index])
        for index in shared
        if flatbuffer.TENSOR_TYPES[graph.tensors[index].type] == 'FLOAT32'
    ]


def are_right(quantized: flatbuffer.schema.ModelT, floats: flatbuffer.schema.ModelT, io: str) -> bool:
    """Whether litert-quantizer has kept shared outputs and their readers apart.

    Args:
      quantized: the model that it made.
      floats: the float model that it was made of.
      io: of the quantized model; FLOAT for float outputs.

    Returns:
      Whether each shared output has the type that was asked for, and no operator reads it dequantized.
    """
    shared = set(shared_outputs(floats))
    names = [flatbuffer.tensor_name(tensor) for tensor in floats.subgraphs[0].tensors]
    ends = {entry.name: names[entry.tensorIndex] for entry in floats.signatureDefs[0].outputs}
    graph = quantized.subgraphs[0]
    kind = {i: flatbuffer.TENSOR_TYPES[tensor.type] for i, tensor in enumerate(graph.tensors)}
    for entry in quantized.signatureDefs[0].outputs:
        if ends[entry.name] in shared and (kind[int(entry.tensorIndex)] == 'FLOAT32') != (io == 'FLOAT'):
            return False
    if io != 'FLOAT' and any(
        flatbuffer.tensor_name(tensor) in shared and kind[index] == 'FLOAT32'
        for index, tensor in enumerate(graph.tensors)
    ):
        return False
    float_again = {
        int(operator.outputs[0])
        for operator in graph.operators
        if flatbuffer.operator_name(quantized, operator) == 'DEQUANTIZE'
        and flatbuffer.tensor_name(graph.tensors[operator.inputs[0]]) in shared
    }
    return not any(int(index) in float_again for operator in graph.operators for index in operator.inputs)


def kept_apart(file: ModelFile) -> tuple[ModelFile, dict[str, str]]:
    """The file with a tensor of its own for each entry of a shared output.

    Args:
      file: a float file.

    Returns:
      The file with a copy behind each such entry; and by the name of each copy, the name of the tensor it copies.
    """
    content = file.changeable()
    shared = set(shared_outputs(content))
    graph, signature = content.subgraphs[0], content.signatureDefs[0]
    taken = {flatbuffer.tensor_name(tensor) for tensor in graph.tensors}
    code = _added_code(content)
    outputs = [int(index) for index in graph.outputs]
    copies: dict[str, str] = {}
    for entry in signature.outputs:
        source = int(entry.tensorIndex)
        name = flatbuffer.tensor_name(graph.tensors[source])
        if name not in shared:
            continue
        own = _unique(f'{name}_output', taken)
        target = _twin(graph, source, own)
        graph.operators.append(_operator(code, source, target))
        outputs[outputs.index(source)] = entry.tensorIndex = target
        copies[own] = name
    graph.outputs = np.array(outputs, np.int32)
    return ModelFile.of_content(content), copies


def joined(quantized: bytes, copies: Mapping[str, str]) -> bytes:
    """What litert-quantizer made of `kept_apart`'s file, without the copies.

    Args:
      quantized: bytes of a file.
      copies: as `kept_apart` gave them.

    Returns:
      The bytes of a file in which each output is the tensor itself, or that tensor made float or integer.
    """
    content = flatbuffer.parse(bytearray(quantized))
    graph = content.subgraphs[0]
    names = [flatbuffer.tensor_name(tensor) for tensor in graph.tensors]
    unused = [_take_out(content, index, copies[name]) for index, name in enumerate(names) if name in copies]
    read = {int(i) for operator in graph.operators for i in operator.inputs} | {int(i) for i in graph.outputs}
    idle = [
        operator
        for operator in graph.operators
        if flatbuffer.operator_name(content, operator) == 'DEQUANTIZE'
        and int(operator.outputs[0]) not in read
    ]
    graph.operators = [operator for operator in graph.operators if operator not in idle]
    gone = {index for indices in unused for index in indices} | {int(o.outputs[0]) for o in idle}
    _drop_tensors(content, gone)
    _drop_copy_code(content)
    return flatbuffer.write(content)


def _take_out(content: flatbuffer.schema.ModelT, target: int, name: str) -> list[int]:
    """Removes a copy, and its QUANTIZE where the tensor is integer itself; returns the tensors that are unused then."""
    graph = content.subgraphs[0]
    kinds = {id(operator): flatbuffer.operator_name(content, operator) for operator in graph.operators}
    producer = {int(index): operator for operator in graph.operators for index in operator.outputs}
    made = producer[target]
    source = int(made.inputs[0])
    graph.operators.remove(made)
    behind = [operator for operator in graph.operators if target in [int(i) for i in operator.inputs]]
    if not behind:
        _move_output(content, target, source)
        return [target]
    (quantize,) = behind
    before = producer.get(source)
    if before is None or kinds[id(before)] != 'DEQUANTIZE':
        quantize.inputs = [source]
        taken = {flatbuffer.tensor_name(tensor) for tensor in graph.tensors}
        own = _unique(f'{name}{inserted_names.QUANTIZED}', taken)
        graph.tensors[quantize.outputs[0]].name = own.encode()
        return [target]
    graph.operators.remove(quantize)
    _move_output(content, int(quantize.outputs[0]), int(before.inputs[0]))
    return [target, int(quantize.outputs[0])]


def _move_output(content: flatbuffer.schema.ModelT, old: int, new: int) -> None:
    graph = content.subgraphs[0]
    graph.outputs = np.array([new if index == old else index for index in graph.outputs], np.int32)
    for entry in content.signatureDefs[0].outputs:
        entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex


def _drop_tensors(content: flatbuffer.schema.ModelT, gone: set[int]) -> None:
    """Removes tensors that nothing uses from the main graph."""
    graph = content.subgraphs[0]
    kept = [index for index in range(len(graph.tensors)) if index not in gone]
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    for owner in [graph, *graph.operators]:
        for side in ('inputs', 'outputs', 'intermediates'):
            indices = getattr(owner, side, None)
            if indices is not None:
                setattr(owner, side, np.array([place[int(index)] for index in indices], np.int32))
    for signature in content.signatureDefs:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = place[int(entry.tensorIndex)]


def _added_code(content: flatbuffer.schema.ModelT) -> int:
    code = _schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _COPY
    code.version = 1
    content.operatorCodes.append(code)
    return len(content.operatorCodes) - 1


def _drop_copy_code(content: flatbuffer.schema.ModelT) -> None:
    """Removes the last operator code of the copies' kind, which `_added_code` added."""
    codes = [
        flatbuffer.flatbuffer_utils.get_builtin_code_from_operator_code(code)
        for code in content.operatorCodes
    ]
    place = max(index for index, code in enumerate(codes) if code == _COPY)
    del content.operatorCodes[place]
    for graph in content.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex -= int(operator.opcodeIndex > place)


def _twin(graph: flatbuffer.schema.SubGraphT, source: int, name: str) -> int:
    twin = copy.copy(graph.tensors[source])
    twin.name = name.encode()
    twin.buffer = 0
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _operator(code: int, source: int, target: int) -> flatbuffer.schema.OperatorT:
    operator = _schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _unique(name: str, taken: set[str]) -> str:
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f'{name}_{number}'
    taken.add(unique)
    return unique
