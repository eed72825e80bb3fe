"""The models that an evaluation compares: a `.tflite` file or a SavedModel, called alike."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert import damage
from tfx_edge.components.core.litert.affine import dequantize
from tfx_edge.components.core.litert.interpreter import LiteRTModel, TensorDetail
from tfx_edge.components.core.signature import TensorSpec, choose_signature, read_signatures
from tfx_edge.components.core.signature_arguments import keywords

# The name that TFMA, TFX's Pusher and TFLiteQuantizer give the file in a model's serving folder.
TFLITE_FILE = 'tflite'

# Every call takes this many rows, the last one filled up: TensorFlow's kernels may add in another
# order for another batch size, and results must not depend on how a runner bundles the examples.
_SAVED_MODEL_BATCH = 32

_Value = TypeVar('_Value')


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """Where a model lies; workers load it from there.

    Attributes:
      path: of the `.tflite` file, or of the SavedModel's folder.
      is_tflite: which of the two it is.
      signature_name: '' takes a `.tflite` file's only signature, and chooses a SavedModel's.
    """

    path: str
    is_tflite: bool
    signature_name: str = ''


class Model(abc.ABC):
    """A model ready to be called on dense batches.

    Attributes:
      signature_name: the signature called.
      inputs: specs of the real numbers (or integers) it takes, by input name.
      outputs: shapes by output name, None for what is open; dimension 0 is the batch.
      rails: the lowest and the highest number that each integer output can hold; None for other outputs.
    """

    signature_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, tuple[int | None, ...]]
    rails: Mapping[str, tuple[float, float] | None]

    @abc.abstractmethod
    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """By output name, arrays of shape (batch, ...) for arrays of that batch by input name."""


class _TFLiteModel(Model):
    @damage.told_as_edge_error()
    def __init__(self, source: ModelSource) -> None:
        self._model = LiteRTModel(read_tflite(source.path))
        self.signature_name = self._model.signature_name
        if source.signature_name not in ('', self.signature_name):
            raise EdgeError(
                f'signature {source.signature_name!r} is not in {source.path} (found: '
                f'{self.signature_name!r}); name that one in the ModelSpec, or none.'
            )
        self.inputs = {name: _tflite_spec(name, detail) for name, detail in self._model.inputs.items()}
        self.outputs = {name: (None, *detail.shape[1:]) for name, detail in self._model.outputs.items()}
        self.rails = {name: _rails(detail) for name, detail in self._model.outputs.items()}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._model(inputs)


class _SavedModel(Model):
    def __init__(self, source: ModelSource) -> None:
        signature = choose_signature(source.path, source.signature_name)
        self.signature_name = signature.name
        self.inputs = signature.inputs
        self.outputs = {name: spec.shape for name, spec in signature.outputs.items()}
        self.rails = dict.fromkeys(self.outputs)
        self._path = source.path
        fixed = [spec.shape[0] for spec in signature.inputs.values() if spec.shape[0] is not None]
        self._batch = fixed[0] if fixed else _SAVED_MODEL_BATCH

    @functools.cached_property
    def _loaded(self) -> Any:
        # Not before it is called: what only asks for inputs and outputs would load it for nothing.
        return tf.saved_model.load(self._path)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        function = self._loaded.signatures[self.signature_name]
        keyword = keywords(function, self.inputs)
        size = len(next(iter(inputs.values())))
        results: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}
        for start in range(0, size, self._batch):
            rows = min(self._batch, size - start)
            feeds = {
                keyword[name]: tf.constant(_filled(inputs[name][start : start + rows], self._batch), spec.dtype)
                for name, spec in self.inputs.items()
            }
            for name, values in function(**feeds).items():
                results[name].append(values.numpy()[:rows])
        return {name: np.concatenate(values) for name, values in results.items()}


def find_model(folder: str, signature_name: str = '') -> ModelSource:
    """What a Model artifact's serving folder holds.

    Raises:
      EdgeError: neither a `.tflite` file nor a SavedModel.
    """
    path = os.path.join(folder, TFLITE_FILE)
    if tf.io.gfile.exists(path):
        return ModelSource(path, True, signature_name)
    if tf.io.gfile.exists(os.path.join(folder, 'saved_model.pb')):
        return ModelSource(folder, False, signature_name)
    raise EdgeError(
        f'{folder} holds neither a file {TFLITE_FILE!r} nor a SavedModel; '
        'give the output of TFLiteQuantizer or of a Trainer.'
    )


def find_baseline(folder: str, signature_name: str, candidate: Model) -> ModelSource:
    """The baseline: where no signature is named, a SavedModel is called by the candidate's, if it has it."""
    source = find_model(folder, signature_name)
    if signature_name or source.is_tflite:
        return source
    same = candidate.signature_name if candidate.signature_name in read_signatures(folder) else ''
    return dataclasses.replace(source, signature_name=same)


def load_model(source: ModelSource) -> Model:
    """Loads a model for this process.

    Raises:
      EdgeError: the file is damaged, or the signature is not there or not dense.

    Example:
      >>> load_model(find_model('/pipeline/TFLiteQuantizer/model/7/Format-Serving')).signature_name
      'serving_default'
    """
    return _TFLiteModel(source) if source.is_tflite else _SavedModel(source)


def read_tflite(path: str) -> bytes:
    """The bytes of a `.tflite` file."""
    with tf.io.gfile.GFile(path, 'rb') as file:
        return file.read()


def common_inputs(models: Mapping[str, Model]) -> dict[str, TensorSpec]:
    """The inputs of several models that are read from the same features.

    Raises:
      EdgeError: models take an input of the same name, but of another type or number of values.
    """
    inputs: dict[str, TensorSpec] = {}
    owner: dict[str, str] = {}
    for model_name, model in models.items():
        for name, spec in model.inputs.items():
            first = inputs.setdefault(name, spec)
            owner.setdefault(name, model_name)
            if first.dtype.is_floating != spec.dtype.is_floating or _values(first) != _values(spec):
                raise EdgeError(
                    f'input {name!r} is {first.dtype.name}{first.shape[1:]} in the {owner[name]}, but '
                    f'{spec.dtype.name}{spec.shape[1:]} in the {model_name}; expected models that take the same '
                    'features: name another signature_name in the ModelSpec, or give another baseline_model.'
                )
    return inputs


def fitted(model: Model, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The features that a model takes, in its shapes and types.

    Raises:
      EdgeError: an integer does not fit the model's type.
    """
    return {name: _fitted(name, spec, features[name]) for name, spec in model.inputs.items()}


def as_predicted(outputs: Mapping[str, _Value]) -> dict[str, _Value]:
    """By the name that TFMA's predictions have: a model's only output has none."""
    return dict(outputs) if len(outputs) > 1 else dict(zip([''], outputs.values(), strict=True))


def _rails(detail: TensorDetail) -> tuple[float, float] | None:
    if not detail.scale:
        return None
    limits = np.iinfo(detail.dtype)
    low, high = dequantize(np.array([limits.min, limits.max]), detail.scale, detail.zero_point).tolist()
    return low, high


def _fitted(name: str, spec: TensorSpec, values: np.ndarray) -> np.ndarray:
    cast = values.astype(spec.dtype.as_numpy_dtype, copy=False)
    if not spec.dtype.is_floating and not np.array_equal(cast, values):
        raise EdgeError(
            f'feature {name!r} holds integers that do not fit input {name!r} of type {spec.dtype.name}; '
            'correct the examples.'
        )
    return cast.reshape((len(cast), *_row_shape(spec)))


def _tflite_spec(name: str, detail: TensorDetail) -> TensorSpec:
    dtype = tf.dtypes.as_dtype(detail.dtype)
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool) or None in detail.shape[1:]:
        raise EdgeError(
            f'input {name!r} of the .tflite file is {dtype.name}{detail.shape}; expected a dense numeric input '
            'whose dimensions are fixed but for the batch. Convert a model with such inputs.'
        )
    # A quantized input takes the real numbers that the feature holds.
    return TensorSpec((None, *detail.shape[1:]), tf.float32 if detail.scale else dtype)


def _values(spec: TensorSpec) -> int:
    """Number of values of one example."""
    return math.prod(_row_shape(spec))


def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    # Both kinds of models are refused when a dimension but the batch is open.
    return tuple(size for size in spec.shape[1:] if size is not None)


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
