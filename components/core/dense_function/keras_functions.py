"""The functions that Keras leaves in a SavedModel beside its signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, struct_pb2

from tfx_edge.components.core.signature import Signature, TensorSpec

# In order of preference: inference functions, the one that names its inputs first.
_ATTRIBUTES = ('_default_save_signature', 'serve', '__call__')


def names_of_keras_functions(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """The attributes of a SavedModel that hold functions of Keras, without loading it."""
    nodes = meta_graph.object_graph_def.nodes
    held = {child.local_name for child in nodes[0].children} if nodes else set()
    return [name for name in _ATTRIBUTES if name in held]


def loaded_keras_function(loaded: Any, name: str) -> Any:
    """The concrete function that runs the model for inference (`training=False`).

    Args:
      loaded: what `tf.saved_model.load` returned.
      name: of `names_of_keras_functions`.
    """
    held = getattr(loaded, name)
    candidates = getattr(held, 'concrete_functions', None) or [held]
    # Of `__call__` there is one with training=True too.
    return min(candidates, key=lambda function: any(value is True for value in _other_arguments(function)))


def keras_signature(name: str, function: Any) -> tuple[Signature, dict[str, str], dict[str, str]]:
    """The inputs and outputs of a function of Keras.

    Args:
      name: for the signature.
      function: of `loaded_keras_function`.

    Returns:
      The signature, and the names of the graph's tensors by input name and by output name.
    """
    count = len(function.inputs) - len(function.captured_inputs)
    named = list(_named(_first_argument(function), ''))[:count]
    inputs = {label: tensor for (label, _), tensor in zip(named, function.inputs, strict=False)}
    answers = [label for label, _ in _named(function.structured_outputs, '')]
    results = {
        label or f'output_{index}': tensor
        for index, (label, tensor) in enumerate(zip(answers, function.outputs, strict=True))
    }
    signature = Signature(
        name,
        {label: _spec(spec.shape, spec.dtype) for label, spec in named},
        {label: _spec(tensor.shape, tensor.dtype) for label, tensor in results.items()},
    )
    return (
        signature,
        {label: tensor.name for label, tensor in inputs.items()},
        {label: tensor.name for label, tensor in results.items()},
    )


def named_tensors(signature: struct_pb2.StructuredValue) -> dict[str, TensorSpec]:
    """The tensors of the dictionary that a function returns, according to the SavedModel."""
    fields = signature.dict_value.fields
    specs = {name: value.tensor_spec_value for name, value in fields.items()}
    return {
        name: _spec(tf.TensorShape(spec.shape), tf.dtypes.as_dtype(spec.dtype or types_pb2.DT_FLOAT))
        for name, spec in specs.items()
    }


def _first_argument(function: Any) -> Any:
    positional, keyword = function.structured_input_signature
    return positional[0] if positional else keyword


def _other_arguments(function: Any) -> list[Any]:
    positional, keyword = function.structured_input_signature
    return [*positional[1:], *keyword.values()] if positional else []


def _named(nest: Any, name: str) -> Iterator[tuple[str, tf.TensorSpec]]:
    """The tensors of a nest, in TensorFlow's order, by their key in a dictionary, else by their own name."""
    if isinstance(nest, dict):
        for key in sorted(nest):
            yield from _named(nest[key], str(key))
    elif isinstance(nest, Sequence):
        for item in nest:
            yield from _named(item, '')
    elif nest is not None:
        own = '' if nest.name in (None, 'unknown') else nest.name.split(':')[0]
        yield name or own, nest


def _spec(shape: tf.TensorShape, dtype: tf.DType) -> TensorSpec:
    return TensorSpec(tuple(shape), dtype) if shape.rank is not None else TensorSpec((), dtype, False)
