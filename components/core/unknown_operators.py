"""Operators of a SavedModel that TensorFlow does not have."""

from __future__ import annotations

import re

from tfx_edge.components.core.errors import EdgeError

_UNKNOWN = re.compile(r"Op type not registered '(?P<operator>[^'\n]+)'")


def unknown_operator(saved_model_dir: str, reported: str) -> EdgeError | None:
    """The error that names an operator for which TensorFlow knows no library; None for any other fault.

    Args:
      saved_model_dir: the folder of the SavedModel.
      reported: what TensorFlow's error says, or what a process printed.

    Example:
      >>> error = unknown_operator('/models/spoken', "Op type not registered 'SentencepieceOp' in binary")
      >>> print(str(error).partition(',')[0])
      the SavedModel in /models/spoken uses the operator 'SentencepieceOp'
    """
    found = _UNKNOWN.search(reported)
    if found is None:
        return None
    return EdgeError(
        f'the SavedModel in {saved_model_dir} uses the operator {found["operator"]!r}, which TensorFlow does not have; '
        'expected its own operators, of which a .tflite file is made. Export the model without what needs it: a custom '
        'operator, or one of another library such as tensorflow-text, whose work belongs into the preprocessing_fn.'
    )
