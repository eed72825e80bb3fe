"""The dense function of a loaded SavedModel, to be called as a signature is."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfx_edge.components.core.dense_function.flat_graph import (
    captured_tensors,
    computed,
    flat_graph,
    part_between,
    used_tensors,
)
from tfx_edge.components.core.dense_function.keras_functions import loaded_keras_function
from tfx_edge.components.core.dense_function.signature_arguments import as_keyword
from tfx_edge.components.core.signature import Signature

# TensorFlow's name scope of a called function; tensor names in a `.tflite` file leave it out.
_SCOPE = 'StatefulPartitionedCall'


def dense_function(loaded: Any, signature: Signature) -> Any:
    """The function that a chosen signature stands for.

    Args:
      loaded: what `tf.saved_model.load` made of the SavedModel.
      signature: of `choose_signature`.

    Returns:
      A concrete function that takes the inputs by keyword (`signature_arguments`), answers a dictionary, and captures
      the variables of `loaded`.

    Example:
      >>> dense_function(tf.saved_model.load(folder), choose_signature(folder))(x=tf.zeros((1, 4)))['p'].shape
      TensorShape([1, 3])
    """
    if signature.source is None:
        return loaded.signatures[signature.name]
    source = signature.source
    whole = (
        loaded_keras_function(loaded, source.keras_function)
        if source.keras_function
        else loaded.signatures[signature.name]
    )
    places, results = dict(source.inputs), dict(source.outputs)
    part = part_between(flat_graph(whole), [*places.values(), *source.batch_sizes], results.values())
    used = used_tensors(part)
    captured = {name: value for name, value in captured_tensors(whole).items() if name in used}
    by_keyword = {keyword: place for name, place in places.items() for keyword in (name, as_keyword(name))}
    variables = {id(variable.handle): variable for variable in whole.variables}

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        for value in captured.values():
            if id(value) in variables:
                variables[id(value)].read_value()  # registers the variable with the traced function
        given = {by_keyword[keyword]: value for keyword, value in inputs.items()}
        given.update({name: tf.identity(value) for name, value in captured.items()})
        rows = tf.shape(next(iter(inputs.values())))[:1]
        given.update(dict.fromkeys(source.batch_sizes, rows))
        return dict(zip(results, computed(part, given, list(results.values()), _SCOPE), strict=True))

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in signature.inputs.items()}
    return tf.function(call, autograph=False).get_concrete_function(**specs)
