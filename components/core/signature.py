"""Which signature of a SavedModel is compressed, calibrated and converted."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfx_edge.components.core.errors import EdgeError

_LOG = logging.getLogger(__name__)

_INITIALIZER = '__saved_model_init_op'
_DEFAULT = 'serving_default'


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
class Signature:
    """A signature of a SavedModel: its name, and its inputs and outputs by name."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def read_saved_model(saved_model_dir: str) -> saved_model_pb2.SavedModel:
    """Parses `saved_model.pb` without loading the model.

    Args:
      saved_model_dir: the folder that holds `saved_model.pb` and `variables/`.

    Returns:
      The parsed message.

    Raises:
      EdgeError: there is no readable `saved_model.pb` in the folder.

    Example:
      >>> list(read_saved_model('/models/digits').meta_graphs[0].signature_def)
      ['__saved_model_init_op', 'serving_default']
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


def choose_signature(saved_model_dir: str, signature_name: str = '') -> Signature:
    """The signature to work on: the named one, or the first whose inputs are all dense numeric.

    'serving_default' comes first, then the order of names; others that would do and differ are told, as a warning
    where there is no dense 'serving_default'. Dense numeric means: a number or a boolean, with a batch dimension and
    every other dimension fixed.

    Args:
      saved_model_dir: the folder of the SavedModel.
      signature_name: '' to choose.

    Returns:
      The signature.

    Raises:
      EdgeError: no such signature, or none (or not the named one) is dense numeric.

    Example:
      >>> choose_signature('/models/digits').name
      'serving_default'
    """
    signatures = read_signatures(saved_model_dir)
    found = ', '.join(repr(name) for name in signatures) or 'none'
    if signature_name:
        if signature_name not in signatures:
            raise EdgeError(
                f'signature {signature_name!r} is not in {saved_model_dir} (found: {found}); '
                'name one of these in signature_name.'
            )
        fault = _why_not_dense(signatures[signature_name])
        if fault:
            raise EdgeError(
                f'{fault}; tfx-edge needs a signature with dense numeric inputs. '
                f'Export one, or name it in signature_name (found: {found}).'
            )
        return signatures[signature_name]
    ordered = sorted(signatures, key=lambda name: (name != _DEFAULT, name))
    faults = [_why_not_dense(signatures[name]) for name in ordered]
    dense = [signatures[name] for name, fault in zip(ordered, faults, strict=True) if not fault]
    if dense:
        _tell_choice(saved_model_dir, tuple(dense))
        return dense[0]
    raise EdgeError(
        f'{faults[0] if faults else f"{saved_model_dir} has no signature"}; tfx-edge needs a signature '
        f'with dense numeric inputs. Export one, or name it in signature_name (found: {found}).'
    )


def _tell_choice(saved_model_dir: str, dense: Sequence[Signature]) -> None:
    """Names the signatures that would do, once in a process."""
    taken, *others = dense
    names = tuple(s.name for s in others if (s.inputs, s.outputs) != (taken.inputs, taken.outputs))
    if names:
        _tell_once(saved_model_dir, taken.name, names)


@functools.cache
def _tell_once(saved_model_dir: str, taken: str, others: tuple[str, ...]) -> None:
    _LOG.log(
        logging.INFO if taken == _DEFAULT else logging.WARNING,
        'of the signatures with dense inputs in %s, %r is taken, and not %s; name another in signature_name to take it',
        saved_model_dir,
        taken,
        ', '.join(map(repr, others)),
    )


def whole_outputs(signature: Signature) -> frozenset[str]:
    """The outputs without a batch dimension: one number, or as many rows as no batch decides.

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


def _why_not_dense(signature: Signature) -> str:
    """What keeps a signature from being dense numeric, or ''."""
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
