"""The models that an evaluation compares: a `.tflite` file or a SavedModel, called alike."""

from __future__ import annotations

import abc
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.dense_function.concrete_function import dense_function
from tfx_edge.components.core.dense_function.signature_arguments import keywords
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file import damaged_file, flatbuffer
from tfx_edge.components.core.litert.file.affine import dequantize
from tfx_edge.components.core.litert.file.file_signature import file_ends
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel, TensorDetail
from tfx_edge.components.core.log_once import log_once
from tfx_edge.components.core.saved_variables import load_saved_model
from tfx_edge.components.core.signature import Signature, TensorSpec, read_signatures, whole_outputs

_LOG = logging.getLogger(__name__)

_TENSOR_NAMES = (
    '%s has no signature: its inputs and outputs go by the names of their tensors (%s; %s); the examples have to '
    'hold features of these names'
)

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
      signature: of a SavedModel, where it has been chosen.
    """

    path: str
    is_tflite: bool
    signature_name: str = ''
    signature: Signature | None = None


class Model(abc.ABC):
    """A model ready to be called on dense batches.

    Attributes:
      signature_name: the signature called; '' for a `.tflite` file without one.
      inputs: specs of the real numbers (or integers) it takes, by input name.
      outputs: shapes by output name, None for what is open; dimension 0 is the batch. Only those that are numbers,
        with a row for each example.
      rails: the lowest and the highest number that each integer output can hold; None for other outputs.
      classes: the outputs that are no real numbers, such as an index or a key that the model passes on.
      left_out: why each other output is not evaluated, by its name.
    """

    signature_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, tuple[int | None, ...]]
    rails: Mapping[str, tuple[float, float] | None]
    classes: frozenset[str]
    left_out: Mapping[str, str]

    @abc.abstractmethod
    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the model on a batch by input name; returns arrays of shape (batch, ...) by output name."""

    def as_predicted(self, values: Mapping[str, _Value]) -> dict[str, _Value]:
        """The values by the output names in TFMA's predictions: '' for a model's only output."""
        return dict(values) if self.is_named else dict(zip([''], values.values(), strict=True))

    @property
    def is_named(self) -> bool:
        """Whether TFMA's predictions are keyed by output name: the signature has several outputs."""
        return len(self.outputs) + len(self.left_out) > 1

    def _divide(self, source: ModelSource, specs: Mapping[str, TensorSpec], whole: Collection[str]) -> None:
        """Separates the outputs that can be evaluated from the others."""
        self.left_out = {
            name: reason
            for name, spec in specs.items()
            for reason in [_why_left_out(spec, is_whole=name in whole)]
            if reason
        }
        kept = {name: spec for name, spec in specs.items() if name not in self.left_out}
        if not kept:
            raise EdgeError(
                f'signature {self.signature_name!r} of {source.path} has no output to evaluate '
                f'({", ".join(f"{name!r} {reason}" for name, reason in self.left_out.items()) or "it has none"}); '
                'expected numbers, a row for each example. Export one, or name another signature_name.'
            )
        self.outputs = {name: spec.shape and (None, *spec.shape[1:]) for name, spec in kept.items()}
        self.classes = frozenset(name for name, spec in kept.items() if not spec.dtype.is_floating)


class _TFLiteModel(Model):
    @damaged_file.damage_as_edge_error()
    def __init__(self, source: ModelSource) -> None:
        content = read_tflite(source.path)
        self._model = LiteRTModel(content)
        self.signature_name = self._model.signature_name
        if source.signature_name not in ('', self.signature_name):
            found = repr(self.signature_name) if self.signature_name else 'no signature at all'
            raise EdgeError(
                f'signature {source.signature_name!r} is not in {source.path} (found: {found}); name '
                f'{"that one in the ModelSpec, or none" if self.signature_name else "none in the ModelSpec"}.'
            )
        if not self.signature_name:
            inputs, outputs = ', '.join(self._model.inputs), ', '.join(self._model.outputs)
            log_once(_LOG, logging.INFO, _TENSOR_NAMES, source.path, inputs, outputs)
        self.inputs = {name: _tflite_spec(name, detail) for name, detail in self._model.inputs.items()}
        scalars = _scalars(content) if any(not d.shape for d in self._model.outputs.values()) else ()
        specs = {
            name: _output_spec(detail, bool(detail.shape) or name in scalars)
            for name, detail in self._model.outputs.items()
        }
        self._divide(source, specs, self._model.whole_outputs)
        self.rails = {name: _rails(self._model.outputs[name]) for name in self.outputs}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = self._model(inputs)
        return {name: answers[name] for name in self.outputs}


class _SavedModel(Model):
    def __init__(self, source: ModelSource) -> None:
        signature = source.signature or choose_signature(source.path, source.signature_name)
        self.signature, self.signature_name = signature, signature.name
        self.inputs = signature.inputs
        self._path = source.path
        fixed = [spec.shape[0] for spec in signature.inputs.values() if spec.shape[0] is not None]
        self._batch = fixed[0] if fixed else _SAVED_MODEL_BATCH
        self._divide(source, signature.outputs, whole_outputs(signature))
        self.rails = dict.fromkeys(self.outputs)

    @functools.cached_property
    def _function(self) -> Any:
        # Loaded at the first call: `inputs` and `outputs` are known without loading.
        self._loaded = load_saved_model(self._path)  # kept: its variables are deleted with it
        return dense_function(self._loaded, self.signature)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        function = self._function
        keyword = keywords(function, self.inputs)
        size = len(next(iter(inputs.values())))
        results: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}
        for start in range(0, size, self._batch):
            rows = min(self._batch, size - start)
            feeds = {
                keyword[name]: tf.constant(
                    _filled(inputs[name][start : start + rows], self._batch), spec.dtype
                )
                for name, spec in self.inputs.items()
            }
            answers = function(**feeds)
            for name in self.outputs:
                results[name].append(np.atleast_1d(answers[name].numpy())[:rows])
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


def find_baseline(
    folder: str, signature_name: str, candidate: Model, transform_graph: str | None = None
) -> ModelSource:
    """Finds the baseline. Without a `signature_name`, a SavedModel's signature of the candidate's name is preferred.

    Args:
      folder: the serving folder.
      signature_name: '' where none is named.
      candidate: what it is compared with.
      transform_graph: see `choose_signature`.
    """
    source = find_model(folder, signature_name)
    if source.is_tflite:
        return source
    if not signature_name and candidate.signature_name in read_signatures(source.path):
        signature_name = candidate.signature_name
    chosen = choose_signature(source.path, signature_name, transform_graph=transform_graph)
    return dataclasses.replace(source, signature_name=signature_name, signature=chosen)


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


def _why_left_out(spec: TensorSpec, *, is_whole: bool) -> str:
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        return f'is {spec.dtype.name}'
    return f'has the shape {spec.shape}, without a batch dimension' if is_whole and spec.has_rank else ''


def _output_spec(detail: TensorDetail, has_rank: bool) -> TensorSpec:
    dtype = tf.float32 if detail.scale else tf.dtypes.as_dtype(detail.dtype)
    return TensorSpec(detail.shape, dtype, has_rank)


def _scalars(model: bytes) -> set[str]:
    """The outputs of a file that are known to have no dimension; old converters do not write it."""
    content = flatbuffer.parse(model)
    ends = file_ends(content)
    tensors = content.subgraphs[ends.subgraph].tensors
    return {
        name
        for name, index in ends.outputs.items()
        if tensors[index].hasRank and not flatbuffer.shape(tensors[index])
    }


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
    # Only the batch may be open: models with other open dimensions were refused before.
    return tuple(size for size in spec.shape[1:] if size is not None)


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
