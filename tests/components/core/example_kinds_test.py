"""Every stored kind of feature for every kind of input, with and without a schema.

What each batch must be is made by plain TensorFlow: `tf.io.parse_example`, `tf.sparse.to_dense` and `tf.cast`.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.signature import TensorSpec

_INTEGERS = (tf.int64, tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool)
_FLOATS = (tf.float32, tf.float64, tf.float16, tf.bfloat16)
_TYPES = (*_FLOATS, *_INTEGERS)
# How many values an example holds, and the shapes of inputs that take as many.
_SHAPES = [(1, ()), (1, (1,)), (1, (1, 1)), (4, (4,)), (4, (2, 2)), (4, (2, 2, 1))]
_FULL = [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]]


def _record(**features: Any) -> bytes:
    example = tf.train.Example()
    for name, (stored, values) in features.items():
        if stored == 'float':
            example.features.feature[name].float_list.value.extend(values)
        elif stored == 'bytes':
            example.features.feature[name].bytes_list.value.extend(values)
        else:
            example.features.feature[name].int64_list.value.extend(int(value) for value in values)
    return example.SerializeToString()


def _records(stored: str, rows: Sequence[Sequence[float]]) -> list[bytes]:
    return [_record(x=(stored, row)) for row in rows]


def _schema(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def _schema_of(kind: str, stored: str, count: int) -> schema_pb2.Schema | None:
    """What a SchemaGen writes: with inferred shapes, or without."""
    more = f"name: 'x' type: {'FLOAT' if stored == 'float' else 'INT'}"
    if kind == 'none':
        return None
    if kind == 'dense':
        return _schema(
            f'feature {{ {more} presence {{ min_fraction: 1 }} shape {{ dim {{ size: {count} }} }} }}'
        )
    ragged = 'represent_variable_length_as_ragged: true' if kind == 'ragged' else ''
    return _schema(f'feature {{ {more} presence {{ min_fraction: 1 }} }} {ragged}')


def _witness(
    records: list[bytes], stored: str, count: int, shape: tuple[int, ...], dtype: tf.DType
) -> np.ndarray:
    feature = tf.io.FixedLenFeature([count], tf.float32 if stored == 'float' else tf.int64)
    parsed = tf.io.parse_example(records, {'x': feature})['x']
    return tf.reshape(tf.cast(parsed, dtype), (-1, *shape)).numpy()


@pytest.mark.parametrize('schema', ['none', 'dense', 'variable', 'ragged'])
@pytest.mark.parametrize('stored', ['float', 'int64'])
@pytest.mark.parametrize('dtype', _TYPES, ids=lambda dtype: dtype.name)
def test_numbers_are_taken_in_the_type_and_shape_of_the_input(
    dtype: tf.DType, stored: str, schema: str
) -> None:
    for count, shape in _SHAPES:
        records = _records(stored, [row[:count] for row in _FULL])
        parser = ExampleParser(
            {'x': TensorSpec((None, *shape), dtype)}, schema=_schema_of(schema, stored, count)
        )
        batch = parser(records)['x']
        assert batch.dtype == dtype.as_numpy_dtype
        np.testing.assert_array_equal(batch, _witness(records, stored, count, shape, dtype))


@pytest.mark.parametrize(
    'dtype', [tf.int32, tf.int16, tf.int8, tf.uint8, tf.uint32], ids=lambda dtype: dtype.name
)
def test_the_ends_of_a_type_s_range_are_taken_and_no_more(dtype: tf.DType) -> None:
    parser = ExampleParser({'x': TensorSpec((None,), dtype)})
    records = _records('int64', [[dtype.min], [dtype.max]])
    assert parser(records)['x'].tolist() == [dtype.min, dtype.max]
    for beyond in (dtype.min - 1, dtype.max + 1):
        with pytest.raises(EdgeError, match=f"do not fit input 'x' of type {dtype.name}"):
            parser(_records('int64', [[beyond]]))


@pytest.mark.parametrize(
    ('dtype', 'stored', 'value', 'match'),
    [
        (tf.bool, 'int64', 2, "do not fit input 'x' of type bool"),
        (tf.uint64, 'int64', -1, "do not fit input 'x' of type uint64"),
        (tf.int32, 'float', 1.5, 'expected whole numbers within its range'),
        (tf.int32, 'float', 3e9, 'expected whole numbers within its range'),
        (tf.int64, 'float', 2.0**63, 'expected whole numbers within its range'),
        (tf.int32, 'float', float('nan'), 'expected whole numbers within its range'),
        (tf.float16, 'float', 70000.0, "do not fit input 'x' of type float16; expected at most 65504"),
        (tf.float16, 'int64', 70000, "do not fit input 'x' of type float16"),
        (tf.uint8, 'bytes', b'\x01', r'is bytes_list, but .* uint8; expected numbers.*tf\.io\.decode_jpeg'),
        (tf.float32, 'bytes', b'\x01', r'is bytes_list, but .* float32; expected numbers'),
    ],
)
def test_what_does_not_fit_is_refused(dtype: tf.DType, stored: str, value: Any, match: str) -> None:
    with pytest.raises(EdgeError, match=match) as caught:
        ExampleParser({'x': TensorSpec((None,), dtype)})([_record(x=(stored, [value]))])
    assert '\n' not in str(caught.value)


def test_nan_and_infinity_stay_for_floating_inputs() -> None:
    parser = ExampleParser({'x': TensorSpec((None, 2), tf.float16)})
    batch = parser(_records('float', [[float('nan'), float('-inf')]]))['x']
    np.testing.assert_array_equal(batch, np.array([[np.nan, -np.inf]], np.float16))


def test_integers_that_a_float_does_not_hold_are_rounded_as_keras_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level('INFO', 'tfx_edge')
    many = 2**24 + 1
    parser = ExampleParser(
        {'seconds': TensorSpec((None,), tf.float32), 'few': TensorSpec((None,), tf.float32)}
    )
    batch = parser([_record(seconds=('int64', [many]), few=('int64', [2**24]))])
    assert batch['seconds'].tolist() == tf.cast([many], tf.float32).numpy().tolist() == [2.0**24]
    assert "'seconds' holds integers that float32 does not hold exactly: they are rounded" in caplog.text
    assert "'few' holds integers, and its input takes float32: the same numbers" in caplog.text
    assert "'few' holds integers that" not in caplog.text


def test_numbers_of_both_kinds_give_the_same_however_they_are_batched() -> None:
    inputs = {'x': TensorSpec((None, 2), tf.float32), 'n': TensorSpec((None,), tf.int32)}
    records = [
        _record(x=(stored, [index, index + 1]), n=(other, [index]))
        for index, (stored, other) in enumerate([*itertools.product(['float', 'int64'], repeat=2)] * 2)
    ]
    whole = ExampleParser(inputs, label_key='n')(records)
    parser = pickle.loads(pickle.dumps(ExampleParser(inputs)))
    single = [parser([record]) for record in records]
    for name in inputs:
        np.testing.assert_array_equal(whole[name], np.concatenate([batch[name] for batch in single]))
    assert whole['x'].tolist() == [[index, index + 1] for index in range(8)]
    assert whole['n'].tolist() == list(range(8))


_ROWS = [[1, 2, 3], [4], [], [5, 6]]
_VARIABLE = {
    'no shape': "feature { name: 'x' type: %s }",
    'ragged': "feature { name: 'x' type: %s } represent_variable_length_as_ragged: true",
    'representation': """
      feature { name: 'x' type: %s }
      tensor_representation_group { key: '' value { tensor_representation {
        key: 'x' value { varlen_sparse_tensor { column_name: 'x' } } } } }""",
    'list of another column': """
      feature { name: 'column' type: %s }
      tensor_representation_group { key: '' value { tensor_representation {
        key: 'x' value { varlen_sparse_tensor { column_name: 'column' } } } } }""",
    'ragged of another column': """
      feature { name: 'column' type: %s }
      tensor_representation_group { key: '' value { tensor_representation {
        key: 'x' value { ragged_tensor { feature_path { step: 'column' } } } } } }""",
}


@pytest.mark.parametrize(
    'dtype', [tf.float32, tf.float16, tf.int32, tf.int64, tf.uint8], ids=lambda d: d.name
)
@pytest.mark.parametrize('stored', ['float', 'int64'])
@pytest.mark.parametrize('kind', _VARIABLE)
def test_variable_lengths_are_filled_up_as_to_dense_does(kind: str, stored: str, dtype: tf.DType) -> None:
    column = 'column' if 'another column' in kind else 'x'
    records = [_record(**{column: (stored, row)}) for row in _ROWS]
    schema = _schema(_VARIABLE[kind] % ('FLOAT' if stored == 'float' else 'INT'))
    parsed = tf.io.parse_example(
        records, {column: tf.io.VarLenFeature(tf.float32 if stored == 'float' else tf.int64)}
    )[column]
    for width in (3, 5):
        sized = tf.sparse.reset_shape(parsed, [len(records), width])
        expected = tf.cast(tf.sparse.to_dense(sized), dtype).numpy()
        parser = ExampleParser({'x': TensorSpec((None, width), dtype)}, schema=schema)
        np.testing.assert_array_equal(parser(records)['x'], expected)
        # Not as wide as the longest of the batch.
        np.testing.assert_array_equal(parser(records[1:2])['x'], expected[1:2])


def test_a_variable_length_that_is_absent_or_scalar_is_zero() -> None:
    parser = ExampleParser(
        {'x': TensorSpec((None,), tf.float32)}, schema=_schema("feature { name: 'x' type: FLOAT }")
    )
    assert parser([_record(x=('float', [2.0])), _record(), _record(y=('float', [1.0]))])['x'].tolist() == [
        2,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ('more', 'row', 'match'),
    [
        (
            'presence { min_fraction: 1 }',
            [],
            "no value in feature 'x', which the schema says every example has",
        ),
        ('value_count { min: 2 max: 3 }', [1], "1 values in feature 'x', and the schema says at least 2"),
        ('', [1, 2, 3, 4], r"feature 'x' has the shape \(4,\), but input 'x' takes \(3,\)"),
    ],
)
def test_lengths_that_schema_or_input_forbid_are_refused(more: str, row: list[int], match: str) -> None:
    schema = _schema(f"feature {{ name: 'x' type: INT {more} }}")
    parser = ExampleParser({'x': TensorSpec((None, 3), tf.int32)}, schema=schema)
    with pytest.raises(EdgeError, match=match):
        parser(_records('int64', [[1, 2, 3], row]))


def test_without_a_schema_a_shorter_feature_is_refused() -> None:
    parser = ExampleParser({'x': TensorSpec((None, 3), tf.float32)})
    with pytest.raises(EdgeError, match=r"feature 'x' has the shape \(2,\), but input 'x' takes \(3,\)"):
        parser(_records('float', [[1, 2, 3], [1, 2]]))


def test_a_deprecated_feature_is_read_as_without_a_schema() -> None:
    schema = _schema("feature { name: 'x' type: INT lifecycle_stage: DEPRECATED }")
    parser = ExampleParser({'x': TensorSpec((None, 2), tf.int32)}, schema=schema)
    assert parser(_records('int64', [[1, 2]]))['x'].tolist() == [[1, 2]]
    with pytest.raises(EdgeError, match=r"feature 'x' has the shape \(1,\), but input 'x' takes \(2,\)"):
        parser(_records('int64', [[1]]))


_SPARSE = """
feature { name: 'at' type: INT int_domain { min: 0 max: 3 } }
feature { name: 'value' type: FLOAT }
sparse_feature { name: 'x' index_feature { name: 'at' } value_feature { name: 'value' } }
"""


def test_sparse_features_lie_where_their_indices_say() -> None:
    records = [
        _record(at=('int64', [3, 0]), value=('float', [5.0, 7.0])),
        _record(at=('int64', []), value=('float', [])),
    ]
    feature = tf.io.SparseFeature(['at'], 'value', tf.float32, [4])
    expected = tf.sparse.to_dense(tf.io.parse_example(records, {'x': feature})['x']).numpy()
    parser = ExampleParser({'x': TensorSpec((None, 4), tf.float32)}, schema=_schema(_SPARSE))
    np.testing.assert_array_equal(parser(records)['x'], expected)
    assert expected.tolist() == [[7, 0, 0, 5], [0, 0, 0, 0]]
    with pytest.raises(EdgeError, match=r"feature 'x' has the shape \(4,\), but input 'x' takes \(5,\)"):
        ExampleParser({'x': TensorSpec((None, 5), tf.float32)}, schema=_schema(_SPARSE))(records)


_RAGGED = """
feature { name: 'value' type: INT }
feature { name: 'length' type: INT }
tensor_representation_group { key: '' value { tensor_representation { key: 'x' value {
  ragged_tensor { feature_path { step: 'value' } partition { row_length: 'length' } } } } } }
"""


def test_ragged_features_of_two_dimensions_are_filled_up_in_both() -> None:
    records = [
        _record(value=('int64', [1, 2, 3]), length=('int64', [2, 1])),
        _record(value=('int64', [4]), length=('int64', [1])),
    ]
    feature = tf.io.RaggedFeature(tf.int64, 'value', [tf.io.RaggedFeature.RowLengths('length')])
    expected = tf.io.parse_example(records, {'x': feature})['x'].to_tensor(shape=[2, 2, 3]).numpy()
    parser = ExampleParser({'x': TensorSpec((None, 2, 3), tf.int32)}, schema=_schema(_RAGGED))
    np.testing.assert_array_equal(parser(records)['x'], expected)
    assert expected.tolist() == [[[1, 2, 0], [3, 0, 0]], [[4, 0, 0], [0, 0, 0]]]


def test_a_schema_that_contradicts_itself_is_reported() -> None:
    schema = _schema("feature { name: 'value' type: FLOAT } " + _SPARSE.splitlines()[-1])
    with pytest.raises(EdgeError, match=r'the schema cannot be read .* index feature at which did not exist'):
        ExampleParser({'x': TensorSpec((None, 4), tf.float32)}, schema=schema)([_record()])


@pytest.mark.parametrize('stored', ['float', 'int64'])
def test_defaults_are_of_the_stored_type(stored: str) -> None:
    kind, more = ('FLOAT', 'float_value') if stored == 'float' else ('INT', 'int_value')
    schema = _schema(
        f"""
        feature {{ name: 'x' type: {kind} }}
        tensor_representation_group {{ key: '' value {{ tensor_representation {{ key: 'x' value {{
          dense_tensor {{ column_name: 'x' shape {{ dim {{ size: 2 }} }} default_value {{ {more}: 7 }} }} }} }} }} }}
        """
    )
    for dtype in (tf.float32, tf.int32):
        parser = ExampleParser({'x': TensorSpec((None, 2), dtype)}, schema=schema)
        assert parser([_record(), _record(x=(stored, [1, 2]))])['x'].tolist() == [[7, 7], [1, 2]]
