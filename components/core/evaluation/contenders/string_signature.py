"""Compares the evaluated dense function with the signature of strings that it is a part of."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.signature_arguments import keywords
from tfx_edge.components.core.saved_variables import load_saved_model
from tfx_edge.components.core.signature import Signature, read_signatures

_LOG = logging.getLogger(__name__)
# Relative to the largest value: the order of additions changes sums by less.
_TOLERANCE = 1e-5


def compare_with_strings(
    saved_model_dir: str, signature: Signature, records: Sequence[bytes], inputs: Mapping[str, np.ndarray]
) -> str:
    """Calls the dense function and its signature on the same examples, and compares their outputs.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature: the dense function behind a signature whose only input is serialized tf.Examples.
      records: raw examples, serialized.
      inputs: the same, as the dense function takes them, by input name.

    Returns:
      What was found, for the report.

    Example:
      >>> compare_with_strings('/models/taxi', choose_signature('/models/taxi'), records, parser(records))
      "the evaluated function answers as signature 'serving_default' does on 64 raw examples"
    """
    whole = read_signatures(saved_model_dir)[signature.name]
    subject = f'signature {signature.name!r}'
    loaded = load_saved_model(saved_model_dir)
    try:
        answers = _called(loaded.signatures[signature.name], whole, {n: list(records) for n in whole.inputs})
    except tf.errors.OpError as error:
        note = f'{subject} cannot be called on the examples ({str(error.message).splitlines()[0]})'
        _LOG.warning('%s: the evaluated function is not compared with it', note)
        return note
    dense = _called(dense_function(loaded, signature), signature, inputs)
    differing = {name: _difference(answers[name], dense[name]) for name in dense}
    worst = max(differing, key=differing.__getitem__)
    if differing[worst] <= _TOLERANCE:
        note = f'the evaluated function answers as {subject} does on {len(records)} raw examples'
        _LOG.info('%s', note)
        return note
    note = (
        f'the evaluated function answers otherwise than {subject} on {len(records)} raw examples: output {worst!r} '
        f'by up to {differing[worst]:.2g} of its largest value. The metrics are those of the evaluated function'
    )
    _LOG.warning('%s', note)
    return note


def _called(function: Any, signature: Signature, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    keyword = keywords(function, signature.inputs)
    feeds = {keyword[name]: tf.constant(values[name], spec.dtype) for name, spec in signature.inputs.items()}
    return {name: tensor.numpy() for name, tensor in function(**feeds).items()}


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference, as a part of the largest value; infinite where shapes differ."""
    if first.shape != second.shape:
        return float('inf')
    if not first.size:
        return 0.0
    largest = float(np.abs(first.astype(np.float64)).max())
    return float(np.abs(first.astype(np.float64) - second).max()) / (largest or 1.0)
