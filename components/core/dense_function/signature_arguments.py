"""The keyword arguments of a loaded signature, by input name.

TensorFlow turns input names that Python does not allow into keywords: 'sensor/accel' becomes `sensor_accel`, '2nd'
becomes `arg_2nd`. Everything else (`.tflite` files, features, tfx-edge) uses the SavedModel's names.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tfx_edge.components.core.errors import EdgeError


def keywords(function: Any, inputs: Collection[str]) -> dict[str, str]:
    """The keyword of each input.

    Args:
      function: an entry of `tf.saved_model.load(folder).signatures`.
      inputs: names of the signature's inputs, as the SavedModel has them.

    Returns:
      Keyword by input name.

    Raises:
      EdgeError: the function takes other arguments.

    Example:
      >>> keywords(tf.saved_model.load(folder).signatures['serving_default'], ['sensor/accel'])
      {'sensor/accel': 'sensor_accel'}
    """
    taken = set(function.structured_input_signature[1])
    found = {name: name if name in taken else as_keyword(name) for name in inputs}
    if set(found.values()) != taken or len(taken) != len(found):
        raise EdgeError(
            f'TensorFlow loads a signature with the inputs {sorted(inputs)} as a function of {sorted(taken)}; expected '
            'the same names with "_" for what Python has in no name. Name the inputs with letters, digits and "_".'
        )
    return found


def signature_tensors(function: Any, inputs: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Names of the tensors of a signature's graph.

    Args:
      function: an entry of `tf.saved_model.load(folder).signatures`, or a function with the same arguments and results.
      inputs: names of its inputs, as the SavedModel has them.

    Returns:
      The tensor by input name, and by output name.
    """
    by_keyword = {keyword: name for name, keyword in keywords(function, inputs).items()}
    # A signature takes and returns dictionaries, which TensorFlow flattens in the order of their keys.
    input_names = [by_keyword[keyword] for keyword in sorted(by_keyword)]
    output_names = sorted(function.structured_outputs)
    return (
        {name: tensor.name for name, tensor in zip(input_names, function.inputs, strict=False)},
        {name: tensor.name for name, tensor in zip(output_names, function.outputs, strict=True)},
    )


def as_keyword(name: str) -> str:
    """The keyword that TensorFlow makes of an input name that Python does not allow."""
    plain = re.sub(r'\W', '_', name)
    return plain if plain[:1].isalpha() else f'arg_{plain}'
