"""The signatures of a SavedModel, with the specs of their inputs and outputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfx_edge.components.core.errors import EdgeError

_INITIALIZER = '__saved_model_init_op'


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output: `shape` holds None for each dimension left open; dimension 0 is the batch.

    Where `has_rank` is False, not even the number of dimensions is known, and `shape` is ().
    """

    shape: tuple[int | None, ...]
    dtype: tf.DType
    has_rank: bool = True

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one example, for specs whose only open dimension is the batch."""
        return tuple(int(size) for size in self.shape[1:] if size is not None)


@dataclasses.dataclass(frozen=True)
class Preparing:
    """The part of a signature's graph that turns words or encoded images into the dense function's inputs.

    Attributes:
      examples: the signature's input of serialized tf.Examples, where it begins there; '' where it begins at features.
      features: the features that it begins at otherwise, by name.
      places: the tensor of each feature, by name.
    """

    examples: str = ''
    features: tuple[tuple[str, TensorSpec], ...] = ()
    places: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """Which part of a SavedModel a dense function is, where it is not a whole signature.

    Attributes:
      keras_function: the attribute of the model that holds it; '' where it is part of a signature.
      inputs: tensor by input name, in the graph with all calls inlined.
      outputs: tensor by output name, likewise.
      batch_sizes: tensors that hold the number of rows, as a vector of one element.
      preparing: what comes before it, where the features are no numbers yet; None where they are.
      unused: inputs of the signature or the function that no output depends on, and that are left out.
    """

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    keras_function: str = ''
    batch_sizes: tuple[str, ...] = ()
    preparing: Preparing | None = None
    unused: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel, or the dense function behind one.

    Attributes:
      name: of the signature.
      inputs: by name.
      outputs: by name.
      source: the part of the SavedModel; None where it is the signature as it is.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    source: Source | None = None


def read_saved_model(saved_model_dir: str) -> saved_model_pb2.SavedModel:
    """Parses `saved_model.pb` without loading the model.

    Args:
      saved_model_dir: the folder that holds `saved_model.pb` and `variables/`.

    Returns:
      The parsed message.

    Raises:
      EdgeError: there is no readable `saved_model.pb` in the folder.

    Example:
      >>> sorted(read_saved_model('/models/digits').meta_graphs[0].signature_def)
      ['__saved_model_init_op', 'serve', 'serving_default']
    """
    path = os.path.join(saved_model_dir, 'saved_model.pb')
    message = saved_model_pb2.SavedModel()
    try:
        with tf.io.gfile.GFile(path, 'rb') as file:
            message.ParseFromString(file.read())
    except tf.errors.NotFoundError:
        raise EdgeError(
            f'{saved_model_dir} holds no saved_model.pb; expected what a Trainer exports. '
            'Export the model as a SavedModel.'
        ) from None
    except Exception as error:
        raise EdgeError(
            f'{path} cannot be read as a SavedModel ({error}); export the model again.'
        ) from error
    if not message.meta_graphs:
        raise EdgeError(f'{path} holds no graph; export the model again.')
    return message


def read_signatures(saved_model_dir: str) -> dict[str, Signature]:
    """All callable signatures of a SavedModel, by name, in order of name."""
    definitions = read_saved_model(saved_model_dir).meta_graphs[0].signature_def
    return {
        name: Signature(name, _specs(definitions[name].inputs), _specs(definitions[name].outputs))
        for name in sorted(definitions)
        if name != _INITIALIZER
    }


def whole_outputs(signature: Signature) -> frozenset[str]:
    """The outputs without a batch dimension: a scalar, or a fixed first dimension that is not the batch size.

    Example:
      >>> whole_outputs(Signature('s', {'x': TensorSpec((None, 4), tf.float32)}, {'loss': TensorSpec((), tf.float32)}))
      frozenset({'loss'})
    """
    batches = {None, *(spec.shape[0] for spec in signature.inputs.values() if spec.shape)}
    return frozenset(
        name
        for name, spec in signature.outputs.items()
        if spec.has_rank and (not spec.shape or spec.shape[0] not in batches)
    )


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: _spec(infos[name]) for name in sorted(infos)}


def _spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    dtype = tf.dtypes.as_dtype(info.dtype) if info.WhichOneof('encoding') == 'name' else tf.variant
    shape = tf.TensorShape(info.tensor_shape)
    has_rank = shape.rank is not None
    return TensorSpec(tuple(shape) if has_rank else (), dtype, has_rank)


def why_not_dense(signature: Signature) -> str:
    """What keeps a signature from being dense numeric, as the beginning of a sentence, or ''."""
    if not signature.inputs:
        return f'signature {signature.name!r} has no inputs'
    for name, spec in signature.inputs.items():
        place = f'input {name!r} of signature {signature.name!r}'
        if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
            return f'{place} is {spec.dtype.name}'
        if not spec.shape:
            return f'{place} has no batch dimension'
        if None in spec.shape[1:]:
            return f'{place} has the open shape {spec.shape}'
    return ''
