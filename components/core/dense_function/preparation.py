"""Runs the part of a SavedModel that precedes the dense function, such as the lookup of words or decoding of images."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.dense_function.flat_graph import (
    captured_tensors,
    computed,
    flat_graph,
    part_between,
    used_tensors,
)
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.saved_variables import load_saved_model
from tfx_edge.components.core.signature import Preparing, Signature, TensorSpec

_SCOPE = 'preparation'
# Attributes that are not pickled: each process makes its own.
_OF_THIS_PROCESS = ('_function', '_loaded')


class Preparation:
    """Computes the dense function's inputs from examples. Can be pickled: each process loads the model itself.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature: of `choose_signature`, with something to prepare.

    Example:
      >>> Preparation('/models/reviews', choose_signature('/models/reviews'))(records)['text']
      array([[2, 7, 1, 0]])
    """

    def __init__(self, saved_model_dir: str, signature: Signature) -> None:
        assert signature.source is not None
        assert signature.source.preparing is not None
        self._saved_model_dir = saved_model_dir
        self._signature = signature
        self._preparing: Preparing = signature.source.preparing
        self._places = dict(signature.source.inputs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THIS_PROCESS}

    @property
    def takes_examples(self) -> bool:
        """Whether it takes serialized tf.Examples, and not features."""
        return bool(self._preparing.examples)

    @property
    def features(self) -> Mapping[str, TensorSpec]:
        """The features that it takes; none where it takes serialized tf.Examples."""
        return dict(self._preparing.features)

    def __call__(self, given: Sequence[bytes] | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Prepares a batch.

        Args:
          given: serialized tf.Examples, or arrays of shape (batch, ...) by feature.

        Returns:
          Arrays by input name of the dense function.

        Raises:
          EdgeError: the model's graph does not take the examples.
        """
        if isinstance(given, Mapping):
            batch = [tf.constant(given[name], spec.dtype) for name, spec in self._preparing.features]
        else:
            batch = [tf.constant(list(given))]
        try:
            made = self._function(*batch)
        except tf.errors.OpError as error:
            cause = str(error.message).splitlines()[0]
            raise EdgeError(
                f'what signature {self._signature.name!r} does before its weights cannot be done with the examples '
                f'({cause}); give the examples that the Trainer was given.'
            ) from error
        return {name: tensor.numpy() for name, tensor in zip(self._places, made, strict=True)}

    @functools.cached_property
    def _function(self) -> Any:
        self._loaded = load_saved_model(self._saved_model_dir)  # kept: its tables are deleted with it
        whole = self._loaded.signatures[self._signature.name]
        places = dict(self._preparing.places)
        if self._preparing.examples:
            (examples,) = (tensor for tensor in whole.inputs if tensor.dtype == tf.string)
            starts, specs = [examples.name], [tf.TensorSpec([None], tf.string)]
        else:
            starts = [places[name] for name, _ in self._preparing.features]
            specs = [tf.TensorSpec(spec.shape, spec.dtype) for _, spec in self._preparing.features]
        ends = list(self._places.values())
        part = part_between(flat_graph(whole), starts, ends)
        used = used_tensors(part)
        captured = {name: value for name, value in captured_tensors(whole).items() if name in used}

        def prepare(*values: tf.Tensor) -> list[tf.Tensor]:
            known = dict(zip(starts, values, strict=True))
            known.update({name: tf.identity(value) for name, value in captured.items()})
            return computed(part, known, ends, _SCOPE)

        return tf.function(prepare, autograph=False, input_signature=specs)


def preparation_of(saved_model_dir: str, signature: Signature | None) -> Preparation | None:
    """The preparation that a dense function needs; None where the examples hold its inputs as they are."""
    if signature is None or signature.source is None or signature.source.preparing is None:
        return None
    return Preparation(saved_model_dir, signature)
