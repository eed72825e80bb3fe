"""Errors of tf.Examples that name the feature and the remedy, which TensorFlow's own errors do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.signature import TensorSpec

KINDS = {'float_list': tf.float32, 'int64_list': tf.int64, 'bytes_list': tf.string}
_LISTS = {dtype: kind for kind, dtype in KINDS.items()}


def decode(record: bytes) -> tf.train.Example:
    """The tf.Example that a record is.

    Raises:
      EdgeError: it is none.
    """
    try:
        return tf.train.Example.FromString(record)
    except Exception as error:  # protobuf's error class differs between its implementations
        raise EdgeError(f'a record is not a tf.Example ({error}); give examples as tf.Examples.') from error


def values_of(feature: tf.train.Feature) -> Sequence[float | int | bytes]:
    """The values of a feature; none if it has no kind."""
    kind = feature.WhichOneof('kind')
    return getattr(feature, kind).value if kind else ()


def require_inputs(record: bytes, features: Mapping[str, Any], inputs: Mapping[str, TensorSpec]) -> None:
    """Raises the error that names why a record does not hold what the model takes.

    Args:
      record: a serialized tf.Example.
      features: what the model's inputs are parsed as, by name: any feature of `tf.io`.
      inputs: their specs.

    Raises:
      EdgeError: a feature is absent, holds nothing, or is of another type or length.
    """
    present = decode(record).features.feature
    for name, feature in features.items():
        column = getattr(feature, 'value_key', None) or name
        kind = present[column].WhichOneof('kind') if column in present else None
        if kind is not None and KINDS[kind] != feature.dtype:
            raise wrong_type(name, kind, inputs[name], feature.dtype)
        if isinstance(feature, tf.io.FixedLenFeature):
            _require_values(record, present, name, feature, inputs[name])


def _require_values(
    record: bytes, present: Mapping[str, Any], name: str, feature: tf.io.FixedLenFeature, spec: TensorSpec
) -> None:
    has_kind = name in present and present[name].WhichOneof('kind') is not None
    if not has_kind and feature.default_value is not None:
        return
    if name not in present:
        _require_no_sequence(record, name)
        raise absent_input(name, present)
    length, wanted = len(values_of(present[name])), int(np.prod(feature.shape))
    if not length and wanted:
        raise _nothing_held(name, wanted, has_default=feature.default_value is not None)
    if length != wanted:
        raise wrong_shape(name, (length,), spec)


def _require_no_sequence(record: bytes, name: str) -> None:
    """Refuses a tf.SequenceExample, which parses as a tf.Example of its context alone."""
    lists = tf.train.SequenceExample.FromString(record).feature_lists.feature_list
    if lists:
        held = 'a list of steps' if name in lists else 'not there'
        raise EdgeError(
            f'the records are tf.SequenceExamples, in which feature {name!r} is {held} (lists: {listed(lists)}); '
            'tfx-edge reads tf.Examples: write each sequence as one feature that is padded to a fixed length.'
        )


def require_label(record: bytes, name: str, feature: tf.io.FixedLenFeature) -> None:
    """Raises the error that names why the label of a record is not like that of another.

    Args:
      record: a serialized tf.Example.
      name: of the label.
      feature: what the other label is parsed as.

    Raises:
      EdgeError: the label is absent, or of another type or length.
    """
    spec = label_spec(name, record)
    if (spec.dtype, spec.row_shape) != (feature.dtype, tuple(feature.shape)):
        raise EdgeError(
            f'label {name!r} holds {_shown(spec.dtype, spec.row_shape)} in one example, and '
            f'{_shown(feature.dtype, feature.shape)} in another; expected the same in each. Correct the examples, or '
            'name another label_key.'
        )


def require_raw_features(record: bytes, features: Mapping[str, object]) -> None:
    """Raises the error that names why a record does not fit the raw features of a transform graph.

    Args:
      record: a serialized tf.Example.
      features: TensorFlow's feature spec of them, by name.

    Raises:
      EdgeError: a feature is of another type or length, or is absent and has no default.
    """
    present = decode(record).features.feature
    for name, feature in features.items():
        kind = present[name].WhichOneof('kind') if name in present else None
        if kind is None:
            if needs_value(feature):
                raise EdgeError(
                    f'an example has no value for the raw feature {name!r} of the transform graph '
                    f'(found: {listed(present)}); give the examples that Transform was given.'
                )
            continue
        dtype = getattr(feature, 'dtype', None)
        if dtype is not None and KINDS[kind] != dtype:
            raise EdgeError(
                f'raw feature {name!r} is {kind} in an example, but {dtype.name} in the transform graph; '
                'give the examples that Transform was given.'
            )
        length = len(values_of(present[name]))
        if isinstance(feature, tf.io.FixedLenFeature) and length != int(np.prod(feature.shape)):
            raise EdgeError(
                f'raw feature {name!r} holds {length} values in an example, but {int(np.prod(feature.shape))} in the '
                'transform graph; give the examples that Transform was given.'
            )


def needs_value(feature: object) -> bool:
    """Whether a feature must be there to be parsed."""
    return isinstance(feature, tf.io.FixedLenFeature) and feature.default_value is None


def label_spec(name: str, record: bytes) -> TensorSpec:
    """The type and length of a label, which may be any, as one record holds it.

    Raises:
      EdgeError: the record does not hold it.
    """
    present = decode(record).features.feature
    kind = present[name].WhichOneof('kind') if name in present else None
    length = len(values_of(present[name])) if name in present else 0
    if kind is None or not length:
        raise EdgeError(
            f'an example has no {"feature" if name not in present else "value for feature"} {name!r}, which label_key '
            f'names (found: {listed(present)}); name one of these that every example holds.'
        )
    return TensorSpec((None,) if length == 1 else (None, length), KINDS[kind])


def absent_input(name: str, present: Mapping[str, object]) -> EdgeError:
    """The error of an example without a feature that an input reads."""
    return EdgeError(
        f'an example has no feature {name!r}, which the model takes as input '
        f'(found: {listed(present)}); give examples with that feature, a schema with a default for it, '
        'a transform_graph that makes it, or another signature_name.'
    )


def wrong_type(name: str, found: str, spec: TensorSpec, stored: tf.DType | None = None) -> EdgeError:
    """The error of a feature whose type its input cannot be made of.

    Args:
      name: of the feature.
      found: its type.
      spec: of the input.
      stored: the type that the other examples, or the transform graph, say it has; None for any number.
    """
    text = f'feature {name!r} is {found}, but input {name!r} is {spec.dtype.name}'
    if found == 'bytes_list':
        return EdgeError(
            f'{text}; expected numbers. Encoded images and other bytes are decoded in a preprocessing_fn (such as by '
            'tf.io.decode_jpeg, tf.io.decode_raw): give the transform_graph of that.'
        )
    if stored is not None:
        return EdgeError(
            f'{text}; expected {_LISTS[stored]}, as the other examples, the schema or the transform graph say. Correct '
            'the one that is wrong.'
        )
    return EdgeError(
        f'{text}; expected {"numbers" if spec.dtype.is_floating else "whole numbers within its range"}. '
        'Correct the examples, or give a transform_graph that converts it.'
    )


def wrong_shape(name: str, found: Sequence[int], spec: TensorSpec) -> EdgeError:
    """The error of a feature of another shape than its input."""
    return EdgeError(
        f'feature {name!r} has the shape {tuple(found)}, but input {name!r} takes {spec.row_shape} '
        f'({int(np.prod(spec.row_shape))} values) in each example; correct the examples, or give another '
        'signature_name.'
    )


def listed(names: Mapping[str, object]) -> str:
    """Names for a message."""
    return ', '.join(sorted(names)) or 'none'


def _shown(dtype: tf.DType, shape: Sequence[int]) -> str:
    return f'{int(np.prod(shape))} of {dtype.name}'


def _nothing_held(name: str, wanted: int, *, has_default: bool) -> EdgeError:
    remedy = (
        'leave the feature out there, which the default of the schema fills, and not an empty list'
        if has_default
        else 'fill it in, or leave the feature out there and give a schema with a default for it'
    )
    return EdgeError(
        f'an example holds no value in feature {name!r}, of which the model takes {wanted} as input; {remedy}.'
    )
