"""The functions that Keras left in a SavedModel, as dense functions."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core import tensorflow_internals
from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.flat_graph import flat_graph, part_between, used_tensors
from tfx_edge.components.core.dense_function.keras_functions import keras_signature, loaded_keras_function
from tfx_edge.components.core.dense_function.signature_arguments import keywords
from tfx_edge.components.core.signature import Signature, Source, why_not_dense

# Operators that do not count when two functions are compared: they change at most the type or shape of numbers.
_PASSING = frozenset(
    (
        *('Placeholder', 'Const', 'Identity', 'IdentityN', 'NoOp', 'Cast', 'ReadVariableOp', 'StopGradient'),
        *('ExpandDims', 'Squeeze'),
    )
)
# Rows of random numbers on which two functions are compared, and the tolerance of their results.
_ROWS = 8
_TOLERANCE = 1e-4


def function_of_keras(loaded: Any, name: str, signature_name: str) -> Signature | None:
    """A function that Keras saved, without the inputs that no output depends on; None where it is not dense.

    Args:
      loaded: what `tf.saved_model.load` made of the SavedModel.
      name: of `names_of_keras_functions`.
      signature_name: the name that it gets as a signature.
    """
    function = loaded_keras_function(loaded, name)
    signature, inputs, outputs = keras_signature(signature_name, function)
    if why_not_dense(signature) or len(inputs) != len(signature.inputs):
        return None
    return used_part(signature, function, inputs, outputs, name)


def used_part(
    signature: Signature,
    function: Any,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    keras_function: str = '',
) -> Signature:
    """A dense function without the inputs that no output depends on.

    Args:
      signature: its inputs and outputs.
      function: the concrete function.
      inputs: its tensor by input name.
      outputs: its tensor by output name.
      keras_function: the attribute that holds it; '' where it is the signature.
    """
    part = part_between(flat_graph(function), inputs.values(), outputs.values())
    taken = used_tensors(part) | {*outputs.values()}
    used = {name: tensor for name, tensor in sorted(inputs.items()) if tensor in taken}
    source = Source(
        tuple(used.items()),
        tuple(sorted(outputs.items())),
        keras_function=keras_function,
        unused=tuple(sorted(inputs.keys() - used.keys())),
    )
    return dataclasses.replace(
        signature, inputs={name: signature.inputs[name] for name in used}, source=source
    )


def same_of_keras(loaded: Any, found: Signature, own: Sequence[Signature]) -> Signature | None:
    """The function of Keras that computes the same as a signature's dense part, with that part's output names.

    Its inputs have the model's own types, such as int32 where the examples hold int64.

    Args:
      loaded: what `tf.saved_model.load` made of the SavedModel.
      found: the dense part of a signature.
      own: dense functions that Keras left.

    Returns:
      One of `own`; None where none is the same.
    """
    for function in own:
        specs = [(spec.shape, spec.dtype) for spec in function.outputs.values()]
        named = {
            tuple_: name
            for name, spec in found.outputs.items()
            for tuple_ in [(spec.shape, spec.dtype)]
            if specs.count(tuple_) == 1
        }
        if (
            function.inputs.keys() == found.inputs.keys()
            and len(named) == len(specs) == len(found.outputs)
            and _operators(loaded, function) == _operators(loaded, found)
            and _answer_alike(loaded, found, function, named)
        ):
            assert function.source is not None
            names = {old: named[spec.shape, spec.dtype] for old, spec in function.outputs.items()}
            outputs = tuple(sorted((names[old], tensor) for old, tensor in function.source.outputs))
            return dataclasses.replace(
                function,
                outputs=found.outputs,
                source=dataclasses.replace(function.source, outputs=outputs),
            )
    return None


def _operators(loaded: Any, signature: Signature) -> collections.Counter[str]:
    """How often the function has each kind of operator that computes."""
    graph_def = tensorflow_internals.inlined_graph(dense_function(loaded, signature))
    return collections.Counter(node.op for node in graph_def.node if node.op not in _PASSING)


def _answer_alike(loaded: Any, found: Signature, function: Signature, named: Mapping[Any, str]) -> bool:
    """Whether both return close values for the same random inputs, which shows that equal input names mean the same."""
    random = np.random.default_rng(0)
    rows = max((spec.shape[0] or _ROWS for spec in function.inputs.values()), default=_ROWS)
    values = {
        name: random.normal(size=(rows, *spec.row_shape))
        if spec.dtype.is_floating
        else random.integers(0, 2, (rows, *spec.row_shape))
        for name, spec in function.inputs.items()
    }
    try:
        ours, theirs = (_called(loaded, signature, values) for signature in (found, function))
    except tf.errors.OpError:
        return False
    names = {old: named[spec.shape, spec.dtype] for old, spec in function.outputs.items()}
    return all(np.allclose(ours[names[old]], theirs[old], _TOLERANCE, _TOLERANCE) for old in theirs)


def _called(loaded: Any, signature: Signature, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    function = dense_function(loaded, signature)
    keyword = keywords(function, signature.inputs)
    feeds = {
        keyword[name]: tf.constant(values[name].reshape((-1, *spec.row_shape)), spec.dtype)
        for name, spec in signature.inputs.items()
    }
    return {name: tensor.numpy() for name, tensor in function(**feeds).items()}
